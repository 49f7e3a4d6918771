//! Proof by a host itself: it opens a challenge with `cofferdam`, `sops` or `age` where it has one of them, in every place
//! where identities are looked for, and prints digests. Where it has none, what it holds is read back: the weaker receipt.
//! Where a container reads in its place, the same is asked inside of that.

#![expect(
    clippy::disallowed_methods,
    reason = "edge: a challenge for sops names its time"
)]

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Script, SshHost, SshProblem, answers, proof_script, script};
use crate::fleet::{Answer, Challenge, Receipt, TargetError};
use crate::keys::key_file::KeyFile;
use crate::keys::{IdentitySet, Recipient};
use crate::ledger::ReceiptKind;

/// The kind of a place inside the container that reads in the host's place.
const INSIDE: &str = "inside";

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
        let head = reply.head();
        let word = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        // Where a container reads, what counts is who opened it there.
        let inside = word("reader ").and_then(|rest| rest.split_once(' '));
        let tool = inside.map_or_else(|| word("tool ").unwrap_or("none"), |(tool, _)| tool);
        let kind = if tool == "none" {
            ReceiptKind::ReadBack
        } else {
            ReceiptKind::Unwrapped
        };
        if inside.is_none() && self.reader.is_some() {
            return Err(self.nonsense("no word of the reader"));
        }
        let mut opened = Vec::new();
        for part in reply.parts() {
            opened.extend(self.opened(part, challenges)?);
        }
        let mut receipts = Vec::with_capacity(challenges.len());
        for (number, challenge) in challenges.iter().enumerate() {
            let mut receipt = challenge.judge(None)?;
            receipt.kind = kind;
            let (mut is_on_host, mut is_inside) = (false, inside.is_none());
            for found in opened.iter().filter(|found| found.number == number) {
                receipt.opened = challenge.judge(Some(&found.answer))?.opened;
                let is_own = found.kind == "file" && found.path == self.identity_file;
                let is_its = found.kind == INSIDE && inside.is_some_and(|(_, p)| p == found.path);
                is_on_host |= is_own;
                is_inside |= is_its;
                if found.kind == INSIDE && !is_its {
                    receipt.copies.push(self.within(&found.path));
                } else if !is_its && !is_own {
                    receipt.copies.push(found.path.clone());
                }
            }
            receipt.everywhere = is_on_host && is_inside;
            if let Some((_, path)) = inside.filter(|_| receipt.opened && !receipt.everywhere) {
                let container = self.within(path);
                if is_inside {
                    receipt.lacking.push(self.identity_file.clone());
                    receipt.copies.push(container);
                } else {
                    receipt.lacking.push(container);
                }
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    fn questions(&self, challenges: &[Challenge]) -> Result<Script, TargetError> {
        let numbers: Vec<String> = (0..challenges.len()).map(|n| n.to_string()).collect();
        let first = challenges[0].question();
        let asked = answers::question_line(challenges.iter().map(Challenge::question));
        let reader = self.reader.as_ref();
        let mut script = Script::new(proof_script::PROVE)
            .set("asked", &asked.unwrap_or_default())
            .set("program", self.cofferdam.as_deref().unwrap_or_default())
            .set(
                "inside",
                reader.and_then(|r| r.file.as_deref()).unwrap_or_default(),
            )
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

    /// A path inside the container that reads in the host's place.
    fn within(&self, path: &str) -> String {
        let name = self.reader.as_ref().map_or("", |reader| &reader.name);
        format!("docker:{name}:{path}")
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
