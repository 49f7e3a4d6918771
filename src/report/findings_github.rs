//! Findings as annotations of GitHub's workflows.
//!
//! Source: GitHub, "Workflow commands for GitHub Actions": `::error file=…,line=…,title=…::message`; in messages `%`, CR and
//! LF are escaped, in properties `:` and `,` too.

use std::fmt::Write;

use crate::policy::{Finding, Severity};

/// One line per finding.
pub fn findings_github(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut properties = Vec::new();
        if let Some(file) = &finding.file {
            properties.push(format!("file={}", property(file)));
        }
        if let Some(line) = finding.line {
            properties.push(format!("line={line}"));
        }
        properties.push(format!("title={}", property(&finding.policy)));
        let message = format!("{}\nremedy: {}", finding.message, finding.remedy);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "::{command} {}::{}",
            properties.join(","),
            data(&message)
        );
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_break_out_of_its_line() {
        let finding = Finding {
            policy: "p".to_owned(),
            severity: Severity::Note,
            file: Some("a,b:c%\n::error ::x".to_owned()),
            line: Some(3),
            message: "50%\n::stop".to_owned(),
            remedy: "r".to_owned(),
        };
        assert_eq!(
            findings_github(&[finding]),
            "::notice file=a%2Cb%3Ac%25%0A%3A%3Aerror %3A%3Ax,line=3,title=p::50%25%0A::stop%0Aremedy: r\n"
        );
    }
}
