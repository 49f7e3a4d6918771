//! Findings for people: by policy, each with its places and what to do.

use std::fmt::Write;

use crate::policy::{Finding, Severity};

/// Renders findings, which are sorted; ends in a newline.
pub fn findings_text(findings: &[Finding]) -> String {
    let mut policies: Vec<&str> = Vec::new();
    for finding in findings {
        if !policies.contains(&finding.policy.as_str()) {
            policies.push(&finding.policy);
        }
    }
    let mut text = String::new();
    for policy in policies {
        let own: Vec<&Finding> = findings.iter().filter(|f| f.policy == policy).collect();
        let Some(first) = own.first() else { continue };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {policy}", first.severity);
        for (at, finding) in own.iter().enumerate() {
            let _ = match (&finding.file, finding.line) {
                (Some(file), Some(line)) => {
                    writeln!(text, "  {}:{line}: {}", printable(file), finding.message)
                }
                (Some(file), None) => writeln!(text, "  {}: {}", printable(file), finding.message),
                (None, _) => writeln!(text, "  {}", finding.message),
            };
            let next = own.get(at + 1).map(|next| &next.remedy);
            if next != Some(&finding.remedy) {
                let _ = writeln!(text, "    remedy: {}", finding.remedy);
            }
        }
        text.push('\n');
    }
    text
}

/// How many findings of each kind there are: `2 errors, 1 note`.
pub fn totals(findings: &[Finding]) -> String {
    let kinds = [Severity::Error, Severity::Warning, Severity::Note];
    let parts = kinds.into_iter().filter_map(|severity| {
        match findings.iter().filter(|f| f.severity == severity).count() {
            0 => None,
            1 => Some(format!("1 {severity}")),
            n => Some(format!("{n} {severity}s")),
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A file's name must stay on its line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
