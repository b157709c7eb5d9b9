//! Plain text tables.

use std::fmt;

/// Columns that line up: `l` left, `r` right.
pub struct Table {
    align: &'static str,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head (empty strings for none) and one alignment letter per column.
    pub fn new(head: &[&str], align: &'static str) -> Self {
        debug_assert_eq!(head.len(), align.len());
        Table { align, rows: vec![head.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// A table without a head.
    pub fn headless(align: &'static str) -> Self {
        Table { align, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.align.len();
        let width = |c: usize| self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), w) in row.iter().zip(self.align.chars()).zip(&widths) {
                let pad = " ".repeat(w - cell.chars().count());
                let (before, after) = if align == 'r' { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line += &format!("{before}{cell}{after}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A text cut to `width` characters in its middle, where names differ least.
pub fn shorten(text: &str, width: usize) -> String {
    let n = text.chars().count();
    if n <= width || width < 5 {
        return text.to_owned();
    }
    let (head, tail) = ((width - 3) / 2, width - 3 - (width - 3) / 2);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(n - tail).collect();
    format!("{start}...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new(&["NAME", "MS"], "lr");
        t.row(["a".into(), "1.25".into()]);
        t.row(["longer µ".into(), "10.5".into()]);
        assert_eq!(t.to_string(), "NAME        MS\na         1.25\nlonger µ  10.5\n");
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("encoder/layer.3/attention/query", 13), "encod...query");
        assert_eq!(shorten("short", 13), "short");
    }
}
