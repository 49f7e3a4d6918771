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

impl SshHost {
    /// Asks the host. What opens the challenge beside its identity file is named as a copy.
    pub(super) fn answer(&self, challenge: &Challenge) -> Result<Receipt, TargetError> {
        let mut reply = self.ask(self.questions(challenge)?, Zeroizing::default())?;
        if reply.word() == "pending" {
            // The commands after a delivery were cut off: nothing is shown before they ran.
            self.run(
                Script::new(script::AFTER).list("commands", &self.after_ship),
                Zeroizing::default(),
            )?;
            reply = self.ask(self.questions(challenge)?, Zeroizing::default())?;
        }
        if reply.word() != "ok" {
            return Err(self.refusal(&reply));
        }
        let mut right: Option<Answer> = None;
        let mut own = false;
        let mut copies = Vec::new();
        for part in reply.parts() {
            let Some((kind, path, answer)) = self.answer_of(part, challenge)? else {
                continue;
            };
            challenge.judge(Some(&answer))?;
            right = Some(answer);
            if kind == "file" && path == self.identity_file {
                own = true;
            } else {
                copies.push(path);
            }
        }
        let mut receipt = challenge.judge(right.as_ref())?;
        receipt.everywhere = own;
        receipt.copies = copies;
        if reply.head().lines().any(|line| line == "tool none") {
            receipt.kind = ReceiptKind::ReadBack;
        }
        Ok(receipt)
    }

    fn questions(&self, challenge: &Challenge) -> Result<Script, TargetError> {
        let document = challenge
            .document(Timestamp::now())
            .map_err(|error| self.problem(SshProblem::Challenge(error)))?;
        let question = challenge.question();
        let octal: String = question
            .nonce
            .iter()
            .map(|o| format!("\\{o:03o}"))
            .collect();
        Ok(Script::new(script::PROVE)
            .set("document", &String::from_utf8_lossy(&document))
            .set("challenge", question.wrapped.trim_end())
            .set("target", &question.target)
            .set("run", &question.run)
            .set("octal", &octal))
    }

    /// The kind and path of a place, and its answer; none if the place does not open the challenge.
    fn answer_of(
        &self,
        part: &[u8],
        challenge: &Challenge,
    ) -> Result<Option<(String, String, Answer)>, TargetError> {
        let end = part.iter().position(|&octet| octet == b'\n');
        let (line, content) = end.map_or((part, &[][..]), |end| (&part[..end], &part[end + 1..]));
        let line = String::from_utf8_lossy(line).into_owned();
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["answer", digest, kind, path] => {
                let answer = Answer::from_hex(digest).ok_or_else(|| self.nonsense("answer"))?;
                Ok(Some(((*kind).to_owned(), (*path).to_owned(), answer)))
            }
            ["content", kind, rest @ ..] => {
                let answer = self.unwrap_here(kind, content, challenge)?;
                Ok(answer.map(|answer| ((*kind).to_owned(), rest.join(" "), answer)))
            }
            _ => Err(self.nonsense("part")),
        }
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
