//! The six selectors of SOPS: how a document, a creation rule or a file set says which leaves are encrypted.

use std::fmt;

/// The six ways to select; a document has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// Leaves below a key with this suffix stay clear.
    UnencryptedSuffix,
    /// Only leaves below a key with this suffix are encrypted.
    EncryptedSuffix,
    /// Leaves below a key that matches stay clear.
    UnencryptedRegex,
    /// Only leaves below a key that matches are encrypted.
    EncryptedRegex,
    /// What follows a comment that matches stays clear, the comment too.
    UnencryptedCommentRegex,
    /// Only what follows a comment that matches is encrypted.
    EncryptedCommentRegex,
}

impl Selector {
    /// All, in the order in which sops writes them.
    pub const ALL: [Self; 6] = [
        Self::UnencryptedSuffix,
        Self::EncryptedSuffix,
        Self::UnencryptedRegex,
        Self::EncryptedRegex,
        Self::UnencryptedCommentRegex,
        Self::EncryptedCommentRegex,
    ];

    /// The name in metadata, in rules and in `cofferdam.toml`.
    pub fn field(self) -> &'static str {
        match self {
            Self::UnencryptedSuffix => "unencrypted_suffix",
            Self::EncryptedSuffix => "encrypted_suffix",
            Self::UnencryptedRegex => "unencrypted_regex",
            Self::EncryptedRegex => "encrypted_regex",
            Self::UnencryptedCommentRegex => "unencrypted_comment_regex",
            Self::EncryptedCommentRegex => "encrypted_comment_regex",
        }
    }

    /// Whether the value is a regular expression rather than a suffix.
    pub fn is_regex(self) -> bool {
        !matches!(self, Self::UnencryptedSuffix | Self::EncryptedSuffix)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field())
    }
}
