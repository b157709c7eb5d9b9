//! The shown rows as text: Markdown for people, CSV for programs.

use super::column::{Column, Known, Scales};
use super::rows::{Part, Rows};

/// A kind of text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A table with figures as on screen.
    Markdown,
    /// Figures in plain nanoseconds, bytes, operations and shares; RFC 4180.
    Csv,
}

/// The rows in the shown columns, the foot row last.
pub fn text(known: &Known<'_>, rows: &Rows, columns: &[Column], scales: &Scales, form: Form) -> String {
    let heads: Vec<String> = columns.iter().map(|&c| head(c, scales, form)).collect();
    let mut lines = vec![heads];
    for &(depth, part) in &rows.rows {
        lines.push(columns.iter().map(|&c| cell(known, rows, scales, c, part, depth, form)).collect());
    }
    let foot = |&c: &Column| match c {
        Column::Name => format!("Sum of {} layers", rows.totals.layers),
        c if c.is_text() => String::new(),
        c => figure(scales, c, rows.totals.value(c), form),
    };
    lines.push(columns.iter().map(foot).collect());
    match form {
        Form::Markdown => markdown(&lines, columns),
        Form::Csv => lines.iter().map(|line| csv(line)).collect(),
    }
}

fn head(column: Column, scales: &Scales, form: Form) -> String {
    match (form, scales.unit(column)) {
        (Form::Csv, _) => column.export_title(),
        (Form::Markdown, "") => column.title().to_owned(),
        (Form::Markdown, unit) => format!("{}, {unit}", column.title()),
    }
}

fn cell(known: &Known<'_>, rows: &Rows, scales: &Scales, c: Column, part: Part, depth: usize, form: Form) -> String {
    match part {
        Part::Layer(l) if c.is_text() => known.text(l, c),
        Part::Layer(l) => figure(scales, c, known.value(l, c), form),
        Part::Group(g) => {
            let group = &rows.groups[g];
            match c {
                Column::Name if form == Form::Markdown => {
                    // Non-breaking spaces: plain ones are lost.
                    let indent = "\u{a0}\u{a0}".repeat(depth);
                    format!("{indent}{} ({})", group.name, group.totals.layers)
                }
                Column::Name => group.key.clone(),
                c if c.is_text() => String::new(),
                c => figure(scales, c, group.totals.value(c), form),
            }
        }
    }
}

fn figure(scales: &Scales, column: Column, value: Option<f64>, form: Form) -> String {
    match (form, value) {
        (_, None) => String::new(),
        (Form::Csv, Some(v)) => v.to_string(),
        (Form::Markdown, Some(_)) => scales.cell(column, value).trim_end().to_owned(),
    }
}

fn markdown(lines: &[Vec<String>], columns: &[Column]) -> String {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| c.replace('|', "\\|").replace(['\n', '\r'], " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule: Vec<&str> = columns.iter().map(|c| if c.is_text() { "---" } else { "---:" }).collect();
    let mut out = row(&lines[0]);
    out += &format!("| {} |\n", rule.join(" | "));
    lines[1..].iter().for_each(|line| out += &row(line));
    out
}

fn csv(cells: &[String]) -> String {
    let quoted = |c: &String| {
        let needs = c.contains([',', '"', '\n', '\r']);
        if needs { format!("\"{}\"", c.replace('"', "\"\"")) } else { c.clone() }
    };
    let cells: Vec<String> = cells.iter().map(quoted).collect();
    format!("{}\r\n", cells.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::rows::{Choice, Grouping};
    use super::*;
    use crate::view::Profile;
    use profiler::filter::Filter;
    use profiler::fixtures;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn rows_are_copied_as_shown() {
        let mut trace = fixtures::transformer(2, 5, 1);
        trace.layers[0].op = "a|\"b\",c".into();
        let profile = Profile::new(Arc::new(trace));
        let known = Known { profile: &profile, ceiling: &[], scheme: None };
        let flipped = HashSet::new();
        for grouping in [Grouping::Flat, Grouping::Scope, Grouping::Type] {
            let filter = Filter::All(Vec::new());
            let choice =
                Choice { filter: &filter, grouping, sort: Column::Median, descending: true, flipped: &flipped };
            let rows = Rows::new(&known, &choice);
            let scales = Scales::new(&known);
            let columns = Column::ALL;
            let md = text(&known, &rows, &columns, &scales, Form::Markdown);
            assert_eq!(md.lines().count(), rows.rows.len() + 3, "{md}");
            let bars = |l: &str| l.replace("\\|", "").matches('|').count();
            assert!(md.lines().all(|l| bars(l) == columns.len() + 1), "{md}");
            let csv = text(&known, &rows, &columns, &scales, Form::Csv);
            assert_eq!(csv.lines().count(), rows.rows.len() + 2);
            assert!(csv.starts_with("Layer,Operator,Type,Median (ns),Spread (MAD/median)"), "{csv}");
            if grouping == Grouping::Flat {
                assert!(csv.contains("\"a|\"\"b\"\",c\"") && md.contains("a\\|\"b\",c"), "{csv}");
                // The figures of a column add up to the foot row's.
                let median = |line: &str| line.rsplit(',').nth(columns.len() - 4).unwrap().parse::<f64>().unwrap();
                let lines: Vec<&str> = csv.lines().skip(1).filter(|l| !l.contains('"')).collect();
                let (foot, body) = lines.split_last().unwrap();
                let quoted = profile.stats_of(profiler::LayerId(0)).unwrap().time.median;
                let sum: f64 = body.iter().map(|l| median(l)).sum::<f64>() + quoted;
                assert!((sum - median(foot)).abs() < 1e-6 * sum, "{sum} {foot}");
            }
        }
    }
}
