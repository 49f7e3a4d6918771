//! Words of a command line that stands in a variable (`SOPS_AGE_KEY_CMD`, `COFFERDAM_SSH`): quotes and backslashes, no shell.

/// Splits `text`; none if a quote or a backslash is left open.
///
/// Source: github.com/google/shlex: in double quotes a backslash escapes the next character, in single quotes nothing
/// does, `#` at the start of a word begins a comment up to the line's end.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => {
                chars.by_ref().find(|&c| c == '\n');
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\\' if c == '"' => word.push(chars.next()?),
                        other => word.push(other),
                    }
                }
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn splits_as_a_shell_would_without_expanding() {
        let words = |text| split(text).unwrap();
        assert_eq!(words("  pass show  age "), ["pass", "show", "age"]);
        assert_eq!(
            words(r#"a 'b c' "d \"e" f\ g ''"#),
            ["a", "b c", "d \"e", "f g", ""]
        );
        assert_eq!(words("a x#y # rest\nb"), ["a", "x#y", "b"]);
        assert_eq!(words("$HOME/x *"), ["$HOME/x", "*"]);
        assert!(words("").is_empty());
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("a \\"), None);
    }
}
