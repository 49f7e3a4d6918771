//! Encrypting a plain file: parse, encrypt the selected leaves, print as sops does.

use jiff::Timestamp;

use crate::keys::{DataKey, Recipient};
use crate::secret::SecretBytes;
use crate::sops::cipher::LeafCipher;
use crate::sops::document::{Document, DocumentError};
use crate::sops::key_group;
use crate::sops::leaf::{self, Kind};
use crate::sops::mac::MacHasher;
use crate::sops::metadata::NewMetadata;
use crate::sops::open::{LeafFault, Warning, comment_aad};
use crate::sops::selection::{Scope, Selection, Selector};
use crate::sops::store::error::line_at;
use crate::sops::store::{self, EmitOptions, Store, StoreError};
use crate::sops::time_text;
use crate::sops::tree::{
    Comment, Entry, Leaf, List, ListItem, Mapping, MappingItem, Node, Tree, Value,
};

/// How a plain file becomes a document.
#[derive(Debug, Clone)]
pub struct EncryptOptions {
    /// Who can open it; several groups share the data key out.
    pub key_groups: Vec<Vec<Recipient>>,
    /// How many groups are needed; none means all.
    pub threshold: Option<u64>,
    /// Which leaves are encrypted; ignored for binary, as in sops.
    pub selection: Selection,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// When.
    pub now: Timestamp,
    /// The format of the result.
    pub output: Store,
    /// How it is printed.
    pub emit: EmitOptions,
}

/// A new document.
#[derive(Debug)]
pub struct Encrypted {
    /// The file.
    pub bytes: Vec<u8>,
    /// The data key, which opens it.
    pub data_key: DataKey,
    /// What was odd, values aside.
    pub warnings: Vec<Warning>,
}

/// Encrypts `plain`, a file of the format `store`.
///
/// The result is read back before it is given out.
///
/// # Errors
/// [`DocumentError::AlreadyEncrypted`] if there is a `sops` entry; [`DocumentError::NotReadable`] for what SOPS could
/// not read back; [`DocumentError::Store`], [`DocumentError::KeyGroup`], [`DocumentError::Selection`].
pub fn encrypt(
    store: Store,
    plain: &[u8],
    options: &EncryptOptions,
) -> Result<Encrypted, DocumentError> {
    let parsed = match store::parse_plain(store, plain) {
        Err(StoreError::BadMetadata { .. }) => return Err(DocumentError::AlreadyEncrypted),
        other => other?,
    };
    if parsed.metadata.is_some() {
        return Err(DocumentError::AlreadyEncrypted);
    }
    let is_binary = store == Store::Binary;
    let default = Selection::default();
    let selection = if is_binary {
        &default
    } else {
        &options.selection
    };
    let selection = &Selection::checked(selection.selector(), selection.text())?;
    let mac_only_encrypted = options.mac_only_encrypted && !is_binary;

    let data_key = DataKey::generate();
    let cipher = LeafCipher::new(&data_key);
    let mut sealer = Sealer {
        source: plain,
        selection,
        cipher: &cipher,
        mac_only_encrypted,
        is_json: store == Store::Json,
        is_flat: matches!(options.output, Store::Dotenv | Store::Ini),
        path: String::new(),
        mac: MacHasher::new(mac_only_encrypted),
        warnings: Vec::new(),
    };
    let mut tree = Tree::default();
    for document in &parsed.tree.documents {
        tree.documents
            .push(sealer.mapping(document, Scope::default())?);
    }
    let lastmodified = time_text::last_modified(options.now);
    let (mac, warnings) = (sealer.mac.finish(), sealer.warnings);
    let mac = seal(&cipher, mac.as_bytes(), &lastmodified, Kind::Str)?;
    let empty_list = match options.output {
        Store::Yaml => Node::List(List::default()),
        _ => Node::Leaf(Leaf::made(Value::Null)),
    };
    let metadata = NewMetadata {
        groups: key_group::wrap_groups(&data_key, &options.key_groups, options.threshold)?,
        threshold: options.threshold.filter(|t| *t > 0),
        lastmodified,
        mac,
        selection: (!is_binary).then_some(selection),
        mac_only_encrypted,
        empty_list,
    };
    let metadata = metadata.to_mapping();
    let bytes = store::emit(options.output, &tree, Some(&metadata), &options.emit)?;
    let bytes = bytes.expose().clone();
    read_back(options.output, &bytes, &data_key)?;
    Ok(Encrypted {
        bytes,
        data_key,
        warnings,
    })
}

/// Opens what was written; the MAC says that every value is there, in order.
fn read_back(store: Store, bytes: &[u8], key: &DataKey) -> Result<(), DocumentError> {
    let opened = Document::parse(store, bytes.to_vec()).and_then(|d| d.open(key).map(drop));
    opened.map_err(|error| DocumentError::NotReadable {
        key: "the result".to_owned(),
        reason: format!("would not open again ({error}); nothing was written"),
    })
}

struct Sealer<'a> {
    source: &'a [u8],
    selection: &'a Selection,
    cipher: &'a LeafCipher,
    mac_only_encrypted: bool,
    is_json: bool,
    is_flat: bool,
    /// The keys on the way down, each followed by a colon.
    path: String,
    mac: MacHasher,
    warnings: Vec<Warning>,
}

impl Sealer<'_> {
    fn mapping(&mut self, mapping: &Mapping, mut scope: Scope) -> Result<Mapping, DocumentError> {
        let mut items = Vec::with_capacity(mapping.items.len());
        for item in &mapping.items {
            items.push(match item {
                MappingItem::Comment(comment) => {
                    let covered = scope.meets_comment(self.selection, comment.text.expose());
                    MappingItem::Comment(self.comment(comment, covered)?)
                }
                MappingItem::Entry(entry) => {
                    let length = self.path.len();
                    self.path.push_str(&entry.key);
                    self.path.push(':');
                    let inner = scope.under_key(self.selection, &entry.key);
                    let value = self.node(&entry.value, inner)?;
                    self.path.truncate(length);
                    scope.passes_sibling();
                    MappingItem::Entry(Entry {
                        key: entry.key.clone(),
                        value,
                    })
                }
            });
        }
        Ok(Mapping { items })
    }

    fn list(&mut self, list: &List, mut scope: Scope) -> Result<List, DocumentError> {
        let mut items = Vec::with_capacity(list.items.len());
        for item in &list.items {
            items.push(match item {
                ListItem::Comment(comment) => {
                    let covered = scope.meets_comment(self.selection, comment.text.expose());
                    self.item_comment(comment, covered)?
                }
                ListItem::Node(node) => {
                    let node = self.node(node, scope.inside())?;
                    scope.passes_sibling();
                    ListItem::Node(node)
                }
            });
        }
        Ok(List { items })
    }

    fn node(&mut self, node: &Node, scope: Scope) -> Result<Node, DocumentError> {
        Ok(match node {
            Node::Mapping(mapping) => Node::Mapping(self.mapping(mapping, scope)?),
            Node::List(list) => Node::List(self.list(list, scope)?),
            Node::Leaf(leaf) => self.leaf(leaf, scope.covers(self.selection))?,
        })
    }

    fn leaf(&mut self, leaf: &Leaf, covered: bool) -> Result<Node, DocumentError> {
        let value = self.as_sops_types_it(leaf);
        if self.is_flat && value == Value::Null {
            return Err(self.not_readable("null has no form here that sops could read back"));
        }
        if covered || !self.mac_only_encrypted {
            self.mac.feed(&value);
        }
        let Some((kind, plain)) = leaf::to_bytes(&value).filter(|_| covered) else {
            return Ok(Node::Leaf(Leaf::made(value)));
        };
        let token = seal(self.cipher, plain.expose(), &self.path, kind)?;
        Ok(Node::text(token))
    }

    /// Every number of a JSON file is a float to sops 3.11. Later versions keep integers, but the MAC of a clear
    /// integer beyond 2^53 would then differ between the two; so we type them as 3.11 does, and say when that rounds.
    fn as_sops_types_it(&mut self, leaf: &Leaf) -> Value {
        let Value::Int(n) = leaf.value else {
            return leaf.value.duplicate();
        };
        if !self.is_json {
            return Value::Int(n);
        }
        #[expect(clippy::cast_precision_loss, reason = "said in a warning")]
        let float = n as f64;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "compared in the wider type"
        )]
        if float as i128 != i128::from(n) {
            self.warnings.push(Warning {
                line: leaf.place.as_ref().map(|p| line_at(self.source, p.start)),
                text: format!(
                    "the number at `{}` is rounded: SOPS reads JSON numbers as floats; quote it to keep all digits",
                    self.key()
                ),
            });
        }
        Value::Float(float)
    }

    fn comment(&self, comment: &Comment, covered: bool) -> Result<Comment, DocumentError> {
        let mut out = comment.duplicate();
        out.place = None;
        if covered {
            out.text = SecretBytes::new(self.comment_token(comment)?.into_bytes());
        }
        Ok(out)
    }

    /// In a list, sops writes the token of a comment as an item.
    fn item_comment(&self, comment: &Comment, covered: bool) -> Result<ListItem, DocumentError> {
        if !covered || comment.text.expose().is_empty() {
            // An empty comment as an item would be read back as an empty string.
            let mut out = comment.duplicate();
            out.place = None;
            return Ok(ListItem::Comment(out));
        }
        if self.selection.selector() == Selector::EncryptedCommentRegex {
            return Err(self.not_readable(
                "a comment of a list is selected by a comment above it; sops could not read that back",
            ));
        }
        Ok(ListItem::Node(Node::text(self.comment_token(comment)?)))
    }

    fn comment_token(&self, comment: &Comment) -> Result<String, DocumentError> {
        let aad = comment_aad(&self.path);
        // The token is read as a comment before it is opened: it must not itself match the pattern.
        for _ in 0..64 {
            let token = seal(self.cipher, comment.text.expose(), aad, Kind::Comment)?;
            if !self.selection.hits_comment(token.as_bytes()) {
                return Ok(token);
            }
        }
        Err(self.not_readable("the comment pattern matches the ciphertext of comments"))
    }

    fn key(&self) -> String {
        self.path.trim_end_matches(':').replace(':', ".")
    }

    fn not_readable(&self, reason: &str) -> DocumentError {
        DocumentError::NotReadable {
            key: self.key(),
            reason: reason.to_owned(),
        }
    }
}

fn seal(cipher: &LeafCipher, plain: &[u8], aad: &str, kind: Kind) -> Result<String, DocumentError> {
    cipher
        .seal(plain, aad.as_bytes(), kind)
        .map_err(|e| DocumentError::MacUnreadable(LeafFault::from(e)))
}
