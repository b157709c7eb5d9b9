//! The report for a continuous integration's list of tests: each condition is a test case.

use profiler::compare::gate::Answer;

use super::Report;
use crate::comparison;

pub fn xml(r: &Report<'_>) -> String {
    let c = r.comparison;
    let count = |answer| r.judgements.iter().filter(|j| j.answer == answer).count();
    let (failures, mut skipped) = (count(Answer::Yes), count(Answer::Open));
    let answer = format!("{}. {}", comparison::answer(c), comparison::because(c));
    let mut cases = String::new();
    for j in r.judgements {
        cases +=
            &format!("    <testcase classname=\"stratoscope.compare\" name=\"{}\" time=\"0\"", escaped(&j.condition));
        let found: Vec<String> = j.findings.iter().map(|f| comparison::finding(f, c.options.confidence)).collect();
        let first = found.first().cloned().unwrap_or_default();
        cases += &match j.answer {
            Answer::No => "/>\n".to_owned(),
            Answer::Yes => format!(
                ">\n      <failure type=\"regression\" message=\"{}\">{}</failure>\n    </testcase>\n",
                escaped(&first),
                escaped(&found.join("\n"))
            ),
            Answer::Open => format!(
                ">\n      <skipped message=\"{}\"/>\n      <system-out>{}</system-out>\n    </testcase>\n",
                escaped(&format!("no verdict: {first}")),
                escaped(&found.join("\n"))
            ),
        };
    }
    let mut tests = r.judgements.len();
    if tests == 0 {
        // Without conditions nothing can fail: the one case carries the answer.
        tests = 1;
        let open = c.totals.headline.verdict.is_open();
        skipped = usize::from(open);
        let mark = if open { format!("      <skipped message=\"{}\"/>\n", escaped(&answer)) } else { String::new() };
        cases = format!(
            "    <testcase classname=\"stratoscope.compare\" name=\"end to end\" time=\"0\">\n{mark}      \
             <system-out>{}</system-out>\n    </testcase>\n",
            escaped(&answer)
        );
    }
    let totals = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"0\"");
    let name = escaped(&format!("{} against {}", r.names[1], r.names[0]));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"stratoscope compare\" {totals}>\n  \
         <testsuite name=\"{name}\" {totals}>\n    <properties>\n      \
         <property name=\"summary\" value=\"{}\"/>\n    </properties>\n{cases}  </testsuite>\n</testsuites>\n",
        escaped(&answer)
    )
}

/// Text for XML 1.0, in attributes and between tags; characters that XML can't hold become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&apos;",
            '\n' | '\t' => out += &format!("&#{};", u32::from(c)),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
