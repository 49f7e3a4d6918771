//! `cofferdam prove --answer`: a host's own side of a proof. What comes in is no secret, and neither is what goes out: which
//! question was opened by what lies where, shown by a digest.

#![expect(clippy::disallowed_methods, reason = "edge: the command line")]

use std::io::Read;
use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::fleet::Question;
use crate::fleet::ssh::answers;
use crate::keystore::{HostPlace, PlaceKind, Surroundings, host_places};

/// More than all the questions of the largest fleet.
const LARGEST: u64 = 16 << 20;

/// Reads the identity file's path and the questions, and answers with what is found on this machine.
///
/// # Errors
/// Exit 1 for what is no question, and for questions to several targets. That nothing opens one is no error.
pub(super) fn run(context: &Context) -> Result<(), CliError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(LARGEST)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).ok();
    let parsed = text.as_deref().and_then(answers::parse_questions);
    let (file, questions) = parsed.ok_or_else(|| {
        CliError::failed("standard input holds no questions")
            .hint("this is asked by the other side of a proof: cofferdam prove HOST")
    })?;
    let Some(name) = one_target(&questions) else {
        return Err(CliError::failed("the questions are for several targets"));
    };
    let places = host_places(Path::new(&file), &Surroundings::of_process());
    let mut lines = Vec::new();
    for (number, question) in questions.iter().enumerate() {
        lines.extend(opened(number, question, &name, &places));
    }
    context.ui.answer(answers::framed(&lines));
    Ok(())
}

/// The target that is asked; none if there are several. The text that a question opens to names it, too.
fn one_target(questions: &[Question]) -> Option<String> {
    let first = questions.first().map(|question| question.target.clone());
    let first = first.unwrap_or_default();
    let is_one = questions.iter().all(|question| question.target == first);
    is_one.then_some(first)
}

/// A line for each place that opens a question. A place that fails opens nothing, and what opens to another text than a
/// challenge for this target is not answered.
fn opened(number: usize, question: &Question, name: &str, places: &[HostPlace]) -> Vec<String> {
    let mut lines = Vec::new();
    for place in places {
        // It holds what other places hold, too: named only where it alone opens the question.
        if place.kind == PlaceKind::Process && !lines.is_empty() {
            continue;
        }
        if let Ok(Some(answer)) = question.answer(name, &place.identities) {
            lines.push(answers::line(
                number,
                &answer,
                place.kind.word(),
                &place.path,
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Challenge;
    use crate::keys::wrap::wrap;
    use crate::keys::{Identity, IdentitySet};

    #[test]
    fn a_planted_wrap_gets_no_line_and_a_challenge_one_for_each_place() {
        let identity = Identity::mint();
        let recipient = identity.recipient().unwrap();
        let place = |kind, path: &str| HostPlace {
            kind,
            path: path.to_owned(),
            identities: IdentitySet::new(vec![identity.share()]),
        };
        let places = [
            place(PlaceKind::File, "/keys.txt"),
            place(PlaceKind::Env, "/etc/environment"),
            place(PlaceKind::Process, "the environment"),
        ];
        let challenge = Challenge::new("nvr", "r", &recipient).unwrap();
        let mut question = challenge.question().clone();
        let lines = opened(3, &question, "nvr", &places);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("answer 3 ") && lines[0].ends_with(" file /keys.txt"));
        let process = opened(3, &question, "nvr", &places[2..]);
        assert!(process[0].ends_with(" process the environment"));
        // A data key's wrap, and a challenge for somebody else.
        question.wrapped = wrap(&[7; 32], &recipient).unwrap();
        assert!(opened(3, &question, "nvr", &places).is_empty());
        let other = Challenge::new("omni", "r", &recipient).unwrap();
        question.wrapped = other.question().wrapped.clone();
        assert!(opened(3, &question, "nvr", &places).is_empty());
        assert_eq!(one_target(&[question, other.question().clone()]), None);
    }
}
