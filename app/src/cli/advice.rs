//! What to fix first, as text.

use profiler::{Audit, Trace};

use crate::format;

/// What to fix first, in short.
pub fn text(trace: &Trace, audit: &Audit) -> String {
    const ROWS: usize = 5;
    let advice = profiler::advice(trace, &trace.layer_stats(), audit, None);
    let mut out = String::new();
    if !advice.findings.is_empty() {
        out += "\nwhat to fix first\n";
    }
    for (i, f) in advice.findings.iter().take(ROWS).enumerate() {
        let saving = match (f.saving_ns, f.saving_bytes) {
            (Some(ns), _) => format!(" (saves {})", format::duration(ns)),
            (None, Some(bytes)) => format!(" (saves {})", format::bytes(bytes as f64)),
            (None, None) => String::new(),
        };
        out += &format!("  {}. {}{saving}\n     {}\n     {}\n", i + 1, f.title, f.why, f.try_this);
    }
    for missing in &advice.missing {
        out += &format!("  not looked at: {missing}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_come_with_what_they_save_and_gaps_with_their_reason() {
        let mut trace = profiler::fixtures::transformer(2, 10, 1);
        // The fixture knows what int8 took, which is a finding of its own.
        trace.accuracy.clear();
        let audit = Audit::of(&trace);
        let words = text(&trace, &audit);
        assert!(words.contains("not looked at: ") && words.contains("ceilings"), "{words}");
        assert!(!words.contains("1. "), "nothing is to be saved without ceilings:\n{words}");
        let empty = text(&Trace::default(), &Audit::of(&Trace::default()));
        assert!(empty.contains("no measured run"), "{empty}");
    }
}
