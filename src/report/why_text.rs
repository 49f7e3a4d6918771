//! What `why` says, for people.

use std::fmt::Write;

/// Renders an answer; ends in a newline.
pub fn why_text(about: &str, known: &[(&str, Vec<String>)], missing: &[(&str, &str)]) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{}", printable(about));
    let width = known.iter().map(|(word, _)| word.len()).max().unwrap_or(0);
    for (word, lines) in known {
        for (at, line) in lines.iter().enumerate() {
            let word = if at == 0 { word } else { "" };
            let _ = writeln!(text, "  {word:width$}  {}", printable(line));
        }
    }
    match missing.split_first() {
        None => text.push_str("nothing is missing\n"),
        Some(((what, remedy), rest)) => {
            let _ = writeln!(text, "first missing step: {}", printable(what));
            let _ = writeln!(text, "  {remedy}");
            for (what, remedy) in rest {
                let _ = writeln!(text, "then: {}", printable(what));
                let _ = writeln!(text, "  {remedy}");
            }
        }
    }
    text
}

/// Names must stay on their line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
