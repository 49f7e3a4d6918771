//! Proof by a host itself: it opens a challenge with `sops` or `age` where it has them, in every place where identities are
//! looked for, and prints digests. Where it has neither, what it holds is read back: the weaker receipt.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: a challenge for sops names its time"
)]

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Script, SshHost, SshProblem, script};
use crate::fleet::{Answer, Challenge, Receipt, TargetError};
use crate::keys::key_file::KeyFile;
use crate::keys::{IdentitySet, Recipient};
use crate::ledger::ReceiptKind;

/// What one part of the reply says.
struct Opened {
    /// Which challenge was opened.
    number: usize,
    kind: String,
    path: String,
    answer: Answer,
}

impl SshHost {
    /// Asks the host all at once. What opens a challenge beside its identity file is named as a copy.
    pub(super) fn answer(&self, challenges: &[Challenge]) -> Result<Vec<Receipt>, TargetError> {
        if challenges.is_empty() {
            return Ok(Vec::new());
        }
        let mut reply = self.ask(self.questions(challenges)?, Zeroizing::default())?;
        if reply.word() == "pending" {
            // The commands after a delivery were cut off: nothing is shown before they ran.
            self.run(
                Script::new(script::AFTER).list("commands", &self.after_ship),
                Zeroizing::default(),
            )?;
            reply = self.ask(self.questions(challenges)?, Zeroizing::default())?;
        }
        if reply.word() != "ok" {
            return Err(self.refusal(&reply));
        }
        let kind = if reply.head().lines().any(|line| line == "tool none") {
            ReceiptKind::ReadBack
        } else {
            ReceiptKind::Unwrapped
        };
        let mut opened = Vec::new();
        for part in reply.parts() {
            opened.extend(self.opened(part, challenges)?);
        }
        let mut receipts = Vec::with_capacity(challenges.len());
        for (number, challenge) in challenges.iter().enumerate() {
            let mut receipt = challenge.judge(None)?;
            receipt.kind = kind;
            for found in opened.iter().filter(|found| found.number == number) {
                receipt.opened = challenge.judge(Some(&found.answer))?.opened;
                if found.kind == "file" && found.path == self.identity_file {
                    receipt.everywhere = true;
                } else {
                    receipt.copies.push(found.path.clone());
                }
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    fn questions(&self, challenges: &[Challenge]) -> Result<Script, TargetError> {
        let numbers: Vec<String> = (0..challenges.len()).map(|n| n.to_string()).collect();
        let first = challenges[0].question();
        let mut script = Script::new(script::PROVE)
            .set("questions", &numbers.join(" "))
            .set("target", &first.target)
            .set("run", &first.run);
        for (number, challenge) in challenges.iter().enumerate() {
            let document = challenge
                .document(Timestamp::now())
                .map_err(|error| self.problem(SshProblem::Challenge(error)))?;
            let question = challenge.question();
            let octal: String = question
                .nonce
                .iter()
                .map(|octet| format!("\\{octet:03o}"))
                .collect();
            script = script
                .set(
                    &format!("document_{number}"),
                    &String::from_utf8_lossy(&document),
                )
                .set(&format!("challenge_{number}"), question.wrapped.trim_end())
                .set(&format!("octal_{number}"), &octal);
        }
        Ok(script)
    }

    /// What a part shows to be opened.
    fn opened(&self, part: &[u8], challenges: &[Challenge]) -> Result<Vec<Opened>, TargetError> {
        let end = part.iter().position(|&octet| octet == b'\n');
        let (line, content) = end.map_or((part, &[][..]), |end| (&part[..end], &part[end + 1..]));
        let line = String::from_utf8_lossy(line).into_owned();
        if let Some(rest) = line.strip_prefix("content ") {
            let (kind, path) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut opened = Vec::new();
            for (number, challenge) in challenges.iter().enumerate() {
                let answer = self.unwrap_here(kind, content, challenge)?;
                opened.extend(answer.map(|answer| Opened {
                    number,
                    kind: kind.to_owned(),
                    path: path.to_owned(),
                    answer,
                }));
            }
            return Ok(opened);
        }
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let found = match words.as_slice() {
            ["answer", number, digest, kind, path] => number
                .parse()
                .ok()
                .zip(Answer::from_hex(digest))
                .map(|(number, answer)| Opened {
                    number,
                    kind: (*kind).to_owned(),
                    path: (*path).to_owned(),
                    answer,
                }),
            _ => None,
        };
        found
            .map(|found| vec![found])
            .ok_or_else(|| self.nonsense("a part of the proof"))
    }

    /// The answer of a host without tools, from what it read back. Text that is no key file opens nothing.
    fn unwrap_here(
        &self,
        kind: &str,
        content: &[u8],
        challenge: &Challenge,
    ) -> Result<Option<Answer>, TargetError> {
        if kind == "ssh" {
            // Only the public half came; that it is there says enough.
            let text = String::from_utf8_lossy(content);
            let is_its = Recipient::parse(text.trim()).is_ok_and(|r| &r == challenge.recipient());
            return Ok(is_its.then(|| challenge.expected()));
        }
        let Ok(file) = KeyFile::parse(content) else {
            return Ok(None);
        };
        challenge
            .question()
            .answer(&self.name, &IdentitySet::new(file.identities()))
    }
}
