//! What a host's script and a `cofferdam` on that host say to each other: questions on standard input, answers framed by two
//! fixed lines, so that any other program of that name is told apart.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::fleet::{Answer, Question};

/// The first line of an answer.
pub const FIRST: &str = "cofferdam answers 1";
/// The last one.
pub const LAST: &str = "cofferdam answered";

/// The questions of one call.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Questions {
    /// The version of this form; 1.
    version: u32,
    questions: Vec<Question>,
}

/// The questions as one line.
pub(super) fn question_line<'a>(questions: impl Iterator<Item = &'a Question>) -> Option<String> {
    serde_json::to_string(&Questions {
        version: 1,
        questions: questions.cloned().collect(),
    })
    .ok()
}

/// Reads the identity file's path and the questions, a line each; none if they are not that.
pub fn parse_questions(text: &str) -> Option<(String, Vec<Question>)> {
    let (file, line) = text.split_once('\n')?;
    let asked: Questions = serde_json::from_str(line).ok()?;
    (asked.version == 1 && file.starts_with('/')).then(|| (file.to_owned(), asked.questions))
}

/// One answer: which question, the digest, what kind of place opened it, and which.
pub fn line(number: usize, answer: &Answer, kind: &str, path: &str) -> String {
    // A path is a name for people here; a line break in it would be another line.
    let path = path.replace(char::is_control, "?");
    format!("answer {number} {} {kind} {path}", answer.to_hex())
}

/// All lines in their frame, without the last line break.
pub fn framed(lines: &[String]) -> String {
    let mut text = format!("{FIRST}\n");
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text + LAST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Challenge;
    use crate::keys::Identity;

    #[test]
    fn what_is_asked_is_read_and_nothing_else() {
        let recipient = Identity::mint().recipient().unwrap();
        let challenge = Challenge::new("nvr", "r", &recipient).unwrap();
        let line = question_line([challenge.question()].into_iter()).unwrap();
        assert!(!line.contains('\n'));
        let (file, read) = parse_questions(&format!("/k e y\n{line}\n")).unwrap();
        assert_eq!((file.as_str(), read.len()), ("/k e y", 1));
        assert_eq!(read[0].wrapped, challenge.question().wrapped);
        assert!(parse_questions(&line).is_none());
        assert!(parse_questions(&format!("keys\n{line}")).is_none());
        let later = line.replace("\"version\":1", "\"version\":2");
        assert!(parse_questions(&format!("/k\n{later}")).is_none());
    }
}
