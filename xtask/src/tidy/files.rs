//! How long a file may be, and what may not be left in one.

use super::{File, Finding};

/// The most lines of a file.
const MOST_LINES: usize = 600;

/// Files that may be longer, each with the reason. Keep it short: a long file has usually two reasons to exist.
const LONGER: &[(&str, &str)] = &[];

/// What may not be left in Rust code. Written in two parts, so that this file holds none of them.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimpl", "emented!("), "unfinished code"),
    (concat!("#[ig", "nore"), "a test that never runs: delete it or make it quick"),
    (concat!("d", "bg!("), "debugging output"),
];

/// No file is too long.
pub fn sizes(files: &[File]) -> Vec<Finding> {
    sizes_with(files, LONGER)
}

fn sizes_with(files: &[File], longer: &[(&str, &str)]) -> Vec<Finding> {
    let excepted = |f: &File| longer.iter().any(|(path, _)| *path == f.path);
    let too_long = |f: &File| f.text.lines().count() > MOST_LINES;
    let mut findings: Vec<Finding> = files
        .iter()
        .filter(|f| too_long(f) && !excepted(f))
        .map(|f| {
            let message =
                format!("{} lines, at most {MOST_LINES}: split it by its reasons to exist", f.text.lines().count());
            Finding::new(&f.path, MOST_LINES + 1, message)
        })
        .collect();
    let stale = longer.iter().filter(|(path, _)| !files.iter().any(|f| f.path == *path && too_long(f)));
    findings.extend(stale.map(|(path, _)| Finding::new(*path, 1, "is excepted from the size limit for nothing")));
    findings
}

/// Nothing is left behind.
pub fn leftovers(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for f in files.iter().filter(|f| f.path.ends_with(".rs")) {
        for (i, line) in f.text.lines().enumerate() {
            for (word, why) in LEFTOVERS.iter().filter(|(word, _)| line.contains(word)) {
                findings.push(Finding::new(&f.path, i + 1, format!("{word} {why}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn long_files_are_found_and_exceptions_must_be_needed() {
        let fits = "\n".repeat(MOST_LINES);
        let files = [file("a.rs", &fits), file("b.rs", &format!("{fits}x\n")), file("c.wgsl", &format!("{fits}\n"))];
        let found = sizes_with(&files, &[]);
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b.rs", "c.wgsl"]);
        let found = sizes_with(&files, &[("b.rs", "a table"), ("a.rs", "no reason")]);
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["c.wgsl", "a.rs"]);
    }

    #[test]
    fn each_leftover_is_found_at_its_line() {
        for (word, _) in LEFTOVERS {
            let found = leftovers(&[file("a.rs", &format!("fn f() {{\n    {word}x)\n}}\n"))]);
            assert_eq!(found.len(), 1, "{word}");
            assert!(found[0].to_string().starts_with("a.rs:2: "), "{}", found[0]);
        }
        assert_eq!(leftovers(&[file("a.rs", "fn todo() {}\n// to do\n")]), []);
    }
}
