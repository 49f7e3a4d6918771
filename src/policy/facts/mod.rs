//! What policies may ask about: subjects and their facts, each documented where it stands, and how they are made.
//!
//! A fact is a text, a number, a truth or a list of texts. The documentation of each fact is the comment at its field;
//! `docs/policies.md` lists them, and a test compares the two.

mod change;
mod document;
mod file;
mod fleet;
mod gather;
mod identity;
mod kubernetes;
mod material;
mod repository;
mod rule;
mod service;
mod stack;

use serde::Deserialize;

pub use change::{Before, ChangeFacts};
pub use document::looks_like_secret;
pub use file::{FileFacts, is_named_secret, plaintext_names};
pub use fleet::{HostFacts, ZoneFacts};
pub use gather::records;
pub use identity::IdentityFacts;
pub use kubernetes::{AlertingFacts, KustomizationFacts, ReleaseFacts};
pub use material::{Material, Trouble};
pub use repository::RepositoryFacts;
pub use rule::{RuleFacts, is_tool_file};
pub use service::{ImageFacts, ServiceFacts};
pub use stack::StackFacts;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Truth(bool),
    /// A list of texts.
    Texts(Vec<String>),
}

/// The kind of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// True or false.
    Truth,
    /// A list of texts.
    Texts,
}

/// What a subject may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The fact's name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it says.
    pub about: &'static str,
}

/// The facts of one thing, in the order of its subject's fields.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it is.
    pub subject: Subject,
    /// Where it stands; none: the repository as a whole.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// Makes [`Kind`] and [`Fact`] of a field's type.
trait Told {
    const KIND: Kind;
    fn fact(self) -> Fact;
}

impl Told for String {
    const KIND: Kind = Kind::Text;
    fn fact(self) -> Fact {
        Fact::Text(self)
    }
}

impl Told for i64 {
    const KIND: Kind = Kind::Number;
    fn fact(self) -> Fact {
        Fact::Number(self)
    }
}

impl Told for bool {
    const KIND: Kind = Kind::Truth;
    fn fact(self) -> Fact {
        Fact::Truth(self)
    }
}

impl Told for Vec<String> {
    const KIND: Kind = Kind::Texts;
    fn fact(self) -> Fact {
        Fact::Texts(self)
    }
}

/// Declares a subject: a struct with a documented field per fact, the list of its fields, and the record of a value.
macro_rules! facts {
    (
        $(#[doc = $about:literal])+
        $subject:ident $name:ident {
            $( $(#[doc = $says:literal])+ $field:ident: $kind:ty, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            $( $(#[doc = $says])+ pub $field: $kind, )+
        }

        impl $name {
            /// Every fact, in order.
            pub const FIELDS: &'static [$crate::policy::facts::Field] = &[
                $( $crate::policy::facts::Field {
                    name: stringify!($field),
                    kind: <$kind as $crate::policy::facts::Told>::KIND,
                    about: concat!($($says),+),
                }, )+
            ];

            /// The facts as a record.
            pub fn record(
                self,
                file: Option<String>,
                line: Option<usize>,
            ) -> $crate::policy::facts::Record {
                $crate::policy::facts::Record {
                    subject: $crate::policy::facts::Subject::$subject,
                    file,
                    line,
                    facts: vec![$( $crate::policy::facts::Told::fact(self.$field), )+],
                }
            }
        }
    };
}
pub(crate) use facts;

/// Declares the list of subjects.
macro_rules! subjects {
    ($( $(#[doc = $about:literal])+ $subject:ident $name:literal $facts:ident, )+) => {
        /// What a policy asks about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Subject {
            $( $(#[doc = $about])+ $subject, )+
        }

        impl Subject {
            /// Every subject.
            pub const ALL: &'static [Subject] = &[$( Subject::$subject, )+];

            /// Its name in packs and expressions.
            pub fn name(self) -> &'static str {
                match self { $( Subject::$subject => $name, )+ }
            }

            /// What it may be asked for.
            pub fn fields(self) -> &'static [Field] {
                match self { $( Subject::$subject => $facts::FIELDS, )+ }
            }

            /// What it is.
            pub fn about(self) -> &'static str {
                match self { $( Subject::$subject => concat!($($about),+), )+ }
            }
        }
    };
}

subjects! {
    /// The repository as a whole.
    Repository "repository" RepositoryFacts,
    /// A file of the repository, secret or not; also one that could not be looked into.
    File "file" FileFacts,
    /// A creation rule of a `.sops.yaml`.
    Rule "rule" RuleFacts,
    /// A recipient that documents are encrypted to, or whose identity is in use.
    Identity "identity" IdentityFacts,
    /// A host or cluster of `cofferdam.toml`.
    Host "host" HostFacts,
    /// A zone of `cofferdam.toml`.
    Zone "zone" ZoneFacts,
    /// A service of a compose file.
    Service "service" ServiceFacts,
    /// An image that compose files, manifests or Dockerfiles name; one record for all places.
    Image "image" ImageFacts,
    /// A stack of Komodo.
    Stack "stack" StackFacts,
    /// A Kustomization of Flux.
    Kustomization "kustomization" KustomizationFacts,
    /// A Helm release of Flux or Argo CD.
    Release "release" ReleaseFacts,
    /// A configuration of Alertmanager.
    Alerting "alerting" AlertingFacts,
    /// A document, or `cofferdam.toml`, that changed since the revision of `--since`; without one there is none.
    Change "change" ChangeFacts,
}

impl Subject {
    /// The position of a fact that is a number.
    pub fn number(self, name: &str) -> Option<usize> {
        let mut fields = self.fields().iter();
        fields.position(|field| field.name == name && field.kind == Kind::Number)
    }
}

/// A size as a fact.
fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_facts_have_names_and_words() {
        for subject in Subject::ALL {
            assert!(!subject.about().trim().is_empty());
            for field in subject.fields() {
                assert!(
                    field.about.trim().len() > 8,
                    "{} {}",
                    subject.name(),
                    field.name
                );
            }
        }
        let record = RuleFacts::default().record(None, None);
        assert_eq!(record.facts.len(), Subject::Rule.fields().len());
        assert_eq!(
            Subject::Rule
                .number("matched")
                .map(|at| RuleFacts::FIELDS[at].kind),
            Some(Kind::Number)
        );
        assert_eq!(Subject::Rule.number("path_regex"), None);
    }
}
