//! One SOPS document: parse, recover the data key, open and verify. Rewriting is in `rewrite`, new ones in `encrypt`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::keys::{DataKey, IdentitySet, LabelledWrap, Recipient};
use crate::sops::cipher::LeafCipher;
use crate::sops::ciphertext::Token;
use crate::sops::key_group::{self, KeyGroupError};
use crate::sops::metadata::{ForeignEntry, KeyGroup, Metadata, MetadataError};
use crate::sops::open::{self, LeafError, LeafFault};
use crate::sops::selection::{Selection, SelectionError};
use crate::sops::store::splice::SpliceError;
use crate::sops::store::{self, Parsed, Store, StoreError};
use crate::sops::verified::{Unverified, Verified};

/// An encrypted file, read but not yet opened.
#[derive(Debug)]
pub struct Document {
    pub(super) store: Store,
    pub(super) source: Vec<u8>,
    pub(super) parsed: Parsed,
    pub(super) metadata: Metadata,
    /// Tells documents apart, so that the plaintext of one is never written into another.
    pub(super) id: u64,
}

/// Why a document could not be read, opened or rewritten. The caller knows the file's name.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The file does not parse, or cannot be printed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is not encrypted.
    #[error("no SOPS metadata found: the file is not encrypted")]
    NoMetadata,
    /// The file to encrypt is encrypted, or uses the reserved name.
    #[error("the file is encrypted already, or uses the reserved name `sops`")]
    AlreadyEncrypted,
    /// The metadata is not usable.
    #[error("the SOPS metadata is not usable")]
    Metadata(#[from] MetadataError),
    /// The data key was not recovered, or not wrapped.
    #[error(transparent)]
    KeyGroup(#[from] KeyGroupError),
    /// A leaf does not open.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The file carries no MAC.
    #[error("the file carries no MAC, so its values cannot be trusted")]
    NoMac,
    /// The MAC's token does not open: `lastmodified` or `mac` was changed.
    #[error("the MAC does not open: `mac` or `lastmodified` was changed")]
    MacUnreadable(#[source] LeafFault),
    /// Values were added, removed, reordered or changed.
    #[error("MAC mismatch: values were added, removed, reordered or changed")]
    MacMismatch,
    /// The selection is not possible.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Entries of other key types hold the old data key and cannot be re-wrapped here.
    #[error("a new data key would lock out {}", names(.0))]
    ForeignEntries(Vec<ForeignEntry>),
    /// The plaintext is that of another document.
    #[error("the plaintext belongs to another document")]
    OtherDocument,
    /// Two values of the file share one place (an alias) but need different ciphertexts.
    #[error("line {line}: an alias repeats an encrypted value in another place")]
    SharedPlace {
        /// The line, from 1.
        line: usize,
    },
    /// The document has several key groups, and the change does not say which it means.
    #[error("the file has {0} key groups; recipients can only be added to a file with one")]
    SeveralGroups(usize),
    /// Two edits of the same bytes: a fault of ours, and nothing was written.
    #[error("internal: {0}")]
    Splice(#[from] SpliceError),
    /// SOPS could not read what would be written.
    #[error("{key}: {reason}")]
    NotReadable {
        /// The keys on the path, joined by dots.
        key: String,
        /// Why.
        reason: String,
    },
}

impl DocumentError {
    /// Whether it is only that no identity at hand opens the file.
    pub fn is_locked(&self) -> bool {
        matches!(
            self,
            Self::KeyGroup(KeyGroupError::NotForUs { .. } | KeyGroupError::TooFewGroups { .. })
        )
    }
}

fn names(entries: &[ForeignEntry]) -> String {
    let names: Vec<String> = entries.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl Document {
    /// Reads an encrypted file.
    ///
    /// # Errors
    /// [`DocumentError::Store`], [`DocumentError::NoMetadata`], [`DocumentError::Metadata`].
    pub fn parse(store: Store, source: Vec<u8>) -> Result<Self, DocumentError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parsed = store::parse(store, &source)?;
        let mapping = parsed.metadata.as_ref().ok_or(DocumentError::NoMetadata)?;
        let metadata = Metadata::read(mapping)?;
        Ok(Self {
            store,
            source,
            parsed,
            metadata,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The format of the file.
    pub fn store(&self) -> Store {
        self.store
    }

    /// The file's bytes.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Gives the file's bytes back.
    pub fn into_source(self) -> Vec<u8> {
        self.source
    }

    /// The age recipients of all groups that are of a kind we know, in file order.
    pub fn recipients(&self) -> Vec<&Recipient> {
        self.metadata.recipients()
    }

    /// Entries of other key types, and age entries of a kind we do not know.
    pub fn foreign_entries(&self) -> Vec<ForeignEntry> {
        self.metadata.foreign_entries()
    }

    /// The key groups; one unless the file is shared out.
    pub fn key_groups(&self) -> &[KeyGroup] {
        &self.metadata.groups
    }

    /// `shamir_threshold`; none means all groups.
    pub fn threshold(&self) -> Option<u64> {
        self.metadata.threshold
    }

    /// Which leaves are encrypted.
    pub fn selection(&self) -> &Selection {
        &self.metadata.selection
    }

    /// Whether the MAC covers encrypted leaves only.
    pub fn mac_only_encrypted(&self) -> bool {
        self.metadata.mac_only_encrypted
    }

    /// When it was last written, as the file says.
    pub fn lastmodified(&self) -> &str {
        &self.metadata.lastmodified
    }

    /// The version of the program that wrote it.
    pub fn version(&self) -> &str {
        &self.metadata.version
    }

    /// Everything the metadata say.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The wraps of each key group, for those who open many documents at once.
    pub fn wraps(&self) -> Vec<Vec<LabelledWrap<'_>>> {
        self.metadata.groups.iter().map(key_group::wraps).collect()
    }

    /// Recovers the data key with the identities at hand.
    ///
    /// # Errors
    /// [`DocumentError::KeyGroup`], naming the recipients tried.
    pub fn unwrap_data_key(&self, identities: &IdentitySet) -> Result<DataKey, DocumentError> {
        Ok(key_group::unwrap(
            &self.metadata.groups,
            self.metadata.threshold,
            identities,
        )?)
    }

    /// Decrypts every leaf and checks the MAC.
    ///
    /// # Errors
    /// [`DocumentError::Leaf`] for the first leaf that does not open; then [`DocumentError::NoMac`],
    /// [`DocumentError::MacUnreadable`] or [`DocumentError::MacMismatch`].
    pub fn open(&self, key: &DataKey) -> Result<Verified, DocumentError> {
        let cipher = LeafCipher::new(key);
        let opened = self.decrypt(&cipher)?;
        let carried = self.carried_mac(&cipher)?;
        let proof = opened
            .mac
            .check(carried.expose())
            .ok_or(DocumentError::MacMismatch)?;
        let plaintext = Unverified::new(opened.tree, opened.warnings);
        Verified::new(plaintext, key, opened.sealed, proof, self.id)
            .ok_or(DocumentError::MacMismatch)
    }

    /// Decrypts every leaf and leaves the MAC aside; the result can be read but not rewritten.
    ///
    /// # Errors
    /// [`DocumentError::Leaf`].
    pub fn open_ignoring_mac(&self, key: &DataKey) -> Result<Unverified, DocumentError> {
        let opened = self.decrypt(&LeafCipher::new(key))?;
        Ok(Unverified::new(opened.tree, opened.warnings))
    }

    /// Recovers the data key, decrypts and checks the MAC.
    ///
    /// # Errors
    /// As [`Document::unwrap_data_key`] and [`Document::open`].
    pub fn open_with(&self, identities: &IdentitySet) -> Result<Verified, DocumentError> {
        self.open(&self.unwrap_data_key(identities)?)
    }

    fn decrypt(&self, cipher: &LeafCipher) -> Result<open::Opened, DocumentError> {
        Ok(open::open(
            self.store,
            &self.source,
            &self.parsed.tree,
            &self.metadata.selection,
            self.metadata.mac_only_encrypted,
            cipher,
        )?)
    }

    /// The MAC's text that the file carries.
    pub(super) fn carried_mac(
        &self,
        cipher: &LeafCipher,
    ) -> Result<crate::secret::SecretBytes, DocumentError> {
        let text = self.metadata.mac.as_deref().ok_or(DocumentError::NoMac)?;
        let token = Token::parse(text).map_err(|e| DocumentError::MacUnreadable(e.into()))?;
        cipher
            .open(&token, self.metadata.mac_aad.as_bytes())
            .map_err(|e| DocumentError::MacUnreadable(e.into()))
    }
}
