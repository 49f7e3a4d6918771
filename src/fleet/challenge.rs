//! Proof by challenge: whoever opens 32 random bytes wrapped to a recipient holds its identity.
//!
//! The opened text starts with a fixed label and names one target, and the answer is a digest of it: a data key's wrap
//! planted as a challenge yields nothing, and an answer of one target, run or challenge serves for no other.

use jiff::Timestamp;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::fleet::{Receipt, TargetError};
use crate::keys::wrap::{WrapError, wrap};
use crate::keys::{IdentitySet, Recipient};
use crate::ledger::ReceiptKind;
use crate::secret::{Secret, SecretBytes};
use crate::sops::{self, DocumentError, EmitOptions, EncryptOptions, Selection, Store};

const LABEL: &[u8] = b"cofferdam challenge 1\n";
const RANDOM: usize = 32;

/// A challenge made for one recipient and one target in one run; the maker's side.
#[derive(Debug)]
pub struct Challenge {
    recipient: Recipient,
    question: Question,
    expected: Secret<[u8; 32]>,
    text: SecretBytes,
}

/// What travels to the target; no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Question {
    /// The target that is asked.
    pub target: String,
    /// The run that asks.
    pub run: String,
    /// 32 bytes that make the answer good once.
    pub nonce: [u8; 32],
    /// One armored age file.
    pub wrapped: String,
}

/// What comes back: a digest that tells nothing but that the challenge was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer([u8; 32]);

impl Challenge {
    /// Makes a challenge that the identity of `recipient` alone opens, for `target` in the run `run`.
    ///
    /// # Errors
    /// [`WrapError`] if the recipient's plugin is missing or refuses.
    pub fn new(target: &str, run: &str, recipient: &Recipient) -> Result<Self, WrapError> {
        let mut text = Zeroizing::new(Vec::with_capacity(LABEL.len() + target.len() + 1 + RANDOM));
        text.extend_from_slice(LABEL);
        text.extend_from_slice(target.as_bytes());
        text.push(b'\n');
        let mut random = [0u8; RANDOM];
        rand::rngs::OsRng.fill_bytes(&mut random);
        text.extend_from_slice(&random);
        random.zeroize();
        let mut nonce = [0u8; 32];
        rand::rngs::OsRng.fill_bytes(&mut nonce);
        let expected = digest(&text, target, run, &nonce);
        Ok(Self {
            recipient: recipient.clone(),
            question: Question {
                target: target.to_owned(),
                run: run.to_owned(),
                nonce,
                wrapped: wrap(&text, recipient)?,
            },
            expected: Secret::new(expected),
            text: SecretBytes::from_slice(&text),
        })
    }

    /// Whose identity opens it.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// What is sent to the target.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The same text as a SOPS document, for a target that has `sops` and nothing else. Its answer is the same.
    ///
    /// # Errors
    /// As [`sops::encrypt()`].
    pub fn document(&self, now: Timestamp) -> Result<Vec<u8>, DocumentError> {
        let options = EncryptOptions {
            key_groups: vec![vec![self.recipient.clone()]],
            threshold: None,
            selection: Selection::default(),
            mac_only_encrypted: false,
            now,
            output: Store::Binary,
            emit: EmitOptions::default(),
        };
        sops::encrypt(Store::Binary, self.text.expose(), &options).map(|made| made.bytes)
    }

    /// The right answer, for a holder whose secret half is known to be there but stays there.
    pub(super) fn expected(&self) -> Answer {
        Answer(*self.expected.expose())
    }

    /// Turns an answer (none: it could not be opened) into a receipt. Compared in constant time.
    ///
    /// # Errors
    /// [`TargetError::WrongAnswer`].
    pub fn judge(&self, answer: Option<&Answer>) -> Result<Receipt, TargetError> {
        let opened = match answer {
            None => false,
            Some(Answer(given)) if bool::from(given.ct_eq(self.expected.expose())) => true,
            Some(_) => {
                return Err(TargetError::WrongAnswer {
                    target: self.question.target.clone(),
                    recipient: self.recipient.clone(),
                });
            }
        };
        Ok(Receipt {
            target: self.question.target.clone(),
            run: self.question.run.clone(),
            recipient: self.recipient.clone(),
            opened,
            everywhere: opened,
            kind: ReceiptKind::Unwrapped,
            copies: Vec::new(),
            lacking: Vec::new(),
        })
    }
}

impl Answer {
    /// The digest in hexadecimal.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The digest that a target printed, in hexadecimal; none if it is no digest.
    pub fn from_hex(text: &str) -> Option<Self> {
        let octets = text.as_bytes();
        if octets.len() != 64 || !octets.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut digest = [0u8; 32];
        for (octet, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *octet = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl Question {
    /// Answers with the identities at hand, as the target `name`; none if none of them opens it.
    ///
    /// # Errors
    /// [`TargetError::NotItsChallenge`] if it is for another target, or what opens is no challenge for `name`;
    /// [`TargetError::Unwrap`].
    pub fn answer(
        &self,
        name: &str,
        identities: &IdentitySet,
    ) -> Result<Option<Answer>, TargetError> {
        let not_its_own = || TargetError::NotItsChallenge {
            target: name.to_owned(),
        };
        if self.target != name {
            return Err(not_its_own());
        }
        let opened = identities
            .unwrap(&self.wrapped)
            .map_err(|source| TargetError::Unwrap {
                target: name.to_owned(),
                source,
            })?;
        let Some(opened) = opened else {
            return Ok(None);
        };
        let random = opened
            .expose()
            .strip_prefix(LABEL)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"\n"));
        if random.is_none_or(|random| random.len() != RANDOM) {
            return Err(not_its_own());
        }
        let answer = digest(opened.expose(), name, &self.run, &self.nonce);
        Ok(Some(Answer(answer)))
    }
}

/// `sha256(opened ‖ target ‖ run ‖ nonce)`; `opened` names the target and has a fixed length beyond it.
fn digest(opened: &[u8], target: &str, run: &str, nonce: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(opened);
    hash.update(target.as_bytes());
    hash.update(run.as_bytes());
    hash.update(nonce);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Identity;

    #[test]
    fn only_the_right_identity_answers() {
        let (ours, other) = (Identity::mint(), Identity::mint());
        let recipient = ours.recipient().unwrap();
        let challenge = Challenge::new("server04", "run-1", &recipient).unwrap();
        let ours = IdentitySet::new(vec![ours]);
        let other = IdentitySet::new(vec![other]);
        let answer = challenge.question().answer("server04", &ours).unwrap();
        assert!(challenge.judge(answer.as_ref()).unwrap().opened);
        let none = challenge.question().answer("server04", &other).unwrap();
        assert!(!challenge.judge(none.as_ref()).unwrap().opened);
        let second = Challenge::new("server04", "run-1", &recipient).unwrap();
        assert!(matches!(
            second.judge(answer.as_ref()),
            Err(TargetError::WrongAnswer { .. })
        ));
    }

    #[test]
    fn a_planted_wrap_is_not_answered() {
        let ours = Identity::mint();
        let recipient = ours.recipient().unwrap();
        let ours = IdentitySet::new(vec![ours]);
        let mut question = Challenge::new("nvr", "r", &recipient)
            .unwrap()
            .question()
            .clone();
        assert!(matches!(
            question.answer("omni", &ours),
            Err(TargetError::NotItsChallenge { .. })
        ));
        question.wrapped = wrap(&[7; 32], &recipient).unwrap();
        assert!(matches!(
            question.answer("nvr", &ours),
            Err(TargetError::NotItsChallenge { .. })
        ));
        question.target = "omni".to_owned();
        question.wrapped = Challenge::new("nvr", "r", &recipient)
            .unwrap()
            .question()
            .wrapped
            .clone();
        assert!(question.answer("omni", &ours).is_err());
    }
}
