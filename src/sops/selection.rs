//! Which leaves are encrypted: by the suffix of a key, by a pattern on keys, or by a pattern on comments.
//!
//! Every key on a leaf's path counts, so a match high up selects the whole subtree. Comments govern what follows them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use regex::bytes::Regex;

pub use crate::selector::Selector;
use crate::sops::tree::Mapping;

/// The suffix that sops assumes where a document names no selector.
pub const DEFAULT_SUFFIX: &str = "_unencrypted";

/// One selector with its text.
#[derive(Debug, Clone)]
pub struct Selection {
    selector: Selector,
    text: String,
    /// None for suffixes, and for a pattern that is none: sops then silently matches nothing.
    pattern: Option<Regex>,
}

/// Two selectors at once, or a pattern that is none.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SelectionError {
    /// SOPS allows one selector a document.
    #[error("{0} and {1} are both set; a document has one selector")]
    Several(&'static str, &'static str),
    /// SOPS would silently match nothing and so leave values in the clear.
    #[error("{field} is not a valid pattern ({text:?})")]
    BadPattern {
        /// The selector.
        field: &'static str,
        /// The pattern.
        text: String,
    },
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(Selector::UnencryptedSuffix, DEFAULT_SUFFIX)
    }
}

impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        self.selector == other.selector && self.text == other.text
    }
}

impl Eq for Selection {}

impl Selection {
    /// A selection as found in a document; an invalid pattern matches nothing, as in sops.
    pub fn new(selector: Selector, text: &str) -> Self {
        let pattern = if selector.is_regex() {
            compile(text)
        } else {
            None
        };
        Self {
            selector,
            text: text.to_owned(),
            pattern,
        }
    }

    /// A selection for new documents: an invalid pattern is an error.
    ///
    /// # Errors
    /// [`SelectionError::BadPattern`].
    pub fn checked(selector: Selector, text: &str) -> Result<Self, SelectionError> {
        let selection = Self::new(selector, text);
        if selector.is_regex() && selection.pattern.is_none() {
            return Err(SelectionError::BadPattern {
                field: selector.field(),
                text: text.to_owned(),
            });
        }
        Ok(selection)
    }

    /// The one selector of a metadata mapping; the default if it names none.
    ///
    /// # Errors
    /// [`SelectionError::Several`].
    pub fn from_metadata(metadata: &Mapping) -> Result<Self, SelectionError> {
        let mut found: Option<Self> = None;
        for selector in Selector::ALL {
            let text = metadata.get(selector.field()).and_then(|n| n.as_str());
            let Some(text) = text.filter(|t| !t.is_empty()) else {
                continue;
            };
            if let Some(first) = &found {
                return Err(SelectionError::Several(
                    first.selector.field(),
                    selector.field(),
                ));
            }
            found = Some(Self::new(selector, text));
        }
        Ok(found.unwrap_or_default())
    }

    /// Which of the six it is.
    pub fn selector(&self) -> Selector {
        self.selector
    }

    /// Its suffix or pattern.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a key says something about the leaves below it.
    pub(super) fn hits_key(&self, key: &str) -> bool {
        match self.selector {
            Selector::UnencryptedSuffix | Selector::EncryptedSuffix => key.ends_with(&self.text),
            Selector::UnencryptedRegex | Selector::EncryptedRegex => self.matches(key.as_bytes()),
            Selector::UnencryptedCommentRegex | Selector::EncryptedCommentRegex => false,
        }
    }

    /// Whether a comment says something about what follows it.
    pub(super) fn hits_comment(&self, text: &[u8]) -> bool {
        match self.selector {
            Selector::UnencryptedCommentRegex | Selector::EncryptedCommentRegex => {
                self.matches(text)
            }
            _ => false,
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        self.pattern.as_ref().is_some_and(|p| p.is_match(text))
    }
}

/// What the keys and comments above a place say about it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scope {
    key_hit: bool,
    outer_comment_hit: bool,
    /// A comment of this level that matched stands since the last sibling.
    pending: bool,
}

impl Scope {
    /// The scope of the value under `key`.
    pub(super) fn under_key(self, selection: &Selection, key: &str) -> Self {
        Self {
            key_hit: self.key_hit || selection.hits_key(key),
            ..self.inside()
        }
    }

    /// The scope inside a container that stands here.
    pub(super) fn inside(self) -> Self {
        Self {
            key_hit: self.key_hit,
            outer_comment_hit: self.outer_comment_hit || self.pending,
            pending: false,
        }
    }

    /// Whether a leaf here is encrypted.
    pub(super) fn covers(self, selection: &Selection) -> bool {
        let comment_hit = self.outer_comment_hit || self.pending;
        match selection.selector {
            Selector::UnencryptedSuffix | Selector::UnencryptedRegex => !self.key_hit,
            Selector::EncryptedSuffix | Selector::EncryptedRegex => self.key_hit,
            Selector::UnencryptedCommentRegex => !comment_hit,
            Selector::EncryptedCommentRegex => comment_hit,
        }
    }

    /// Notes a comment of this level; gives whether the comment itself is encrypted. A comment counts for itself under
    /// `unencrypted_comment_regex` only.
    pub(super) fn meets_comment(&mut self, selection: &Selection, text: &[u8]) -> bool {
        let hit = selection.hits_comment(text);
        if selection.selector == Selector::UnencryptedCommentRegex {
            self.pending |= hit;
            return self.covers(selection);
        }
        let covered = self.covers(selection);
        self.pending |= hit;
        covered
    }

    /// Notes a sibling that is no comment: the comments above it have done their work.
    pub(super) fn passes_sibling(&mut self) {
        self.pending = false;
    }
}

/// Compiles a pattern once a process; none if it is no RE2 pattern.
fn compile(text: &str) -> Option<Regex> {
    static CACHE: Mutex<Option<HashMap<String, Option<Regex>>>> = Mutex::new(None);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_with(HashMap::new);
    if let Some(found) = cache.get(text) {
        return found.clone();
    }
    // Documents of hostile origin must not fill the memory.
    if cache.len() >= 1024 {
        cache.clear();
    }
    let compiled = crate::re2::translate(text)
        .ok()
        .and_then(|rust| Regex::new(&rust).ok());
    cache.insert(text.to_owned(), compiled.clone());
    compiled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_anywhere_on_the_path_selects() {
        let selection = Selection::new(Selector::EncryptedRegex, "^data$");
        let top = Scope::default();
        let data = top.under_key(&selection, "data");
        assert!(data.under_key(&selection, "x").covers(&selection));
        assert!(!top.under_key(&selection, "mydata").covers(&selection));
    }

    #[test]
    fn an_invalid_pattern_matches_nothing_but_cannot_be_chosen() {
        let selection = Selection::new(Selector::EncryptedRegex, "(");
        assert!(
            !Scope::default()
                .under_key(&selection, "(")
                .covers(&selection)
        );
        assert!(Selection::checked(Selector::EncryptedRegex, "(").is_err());
    }

    #[test]
    fn comments_govern_up_to_the_next_sibling() {
        let selection = Selection::new(Selector::EncryptedCommentRegex, "enc");
        let mut scope = Scope::default();
        assert!(!scope.meets_comment(&selection, b" enc"));
        assert!(scope.meets_comment(&selection, b" more"));
        assert!(scope.under_key(&selection, "k").covers(&selection));
        scope.passes_sibling();
        assert!(!scope.under_key(&selection, "k").covers(&selection));

        let selection = Selection::new(Selector::UnencryptedCommentRegex, "clear");
        let mut scope = Scope::default();
        assert!(scope.meets_comment(&selection, b" other"));
        assert!(!scope.meets_comment(&selection, b" clear"));
        assert!(!scope.under_key(&selection, "k").covers(&selection));
    }

    #[test]
    fn two_selectors_are_refused() {
        let mut metadata = Mapping::default();
        metadata.push("encrypted_regex", crate::sops::tree::Node::text("a"));
        assert!(Selection::from_metadata(&metadata).is_ok());
        metadata.push("encrypted_suffix", crate::sops::tree::Node::text("b"));
        assert!(Selection::from_metadata(&metadata).is_err());
    }
}
