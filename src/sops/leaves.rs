//! Listing a document's leaves one by one, each with its own outcome: for looking through history, where one damaged leaf must
//! not hide the others. Nothing here is verified: a token that opens is authentic in its place, but the document's MAC is
//! not checked.

use crate::keys::DataKey;
use crate::secret::SecretBytes;
use crate::sops::cipher::LeafCipher;
use crate::sops::ciphertext::Token;
use crate::sops::document::Document;
use crate::sops::leaf::{self, Kind};
use crate::sops::open::comment_aad;
use crate::sops::selection::{Scope, Selection};
use crate::sops::tree::{List, ListItem, Mapping, MappingItem, Node, Tree, Value};

/// A leaf or comment with its place.
#[derive(Debug)]
pub struct ListedLeaf {
    /// Which document of the stream it stands in, from 0.
    pub document: usize,
    /// The keys down to it; indexes of lists are decimal and count values, not comments. Of a comment: the container's.
    pub key: Vec<String>,
    /// Whether it is a comment.
    pub is_comment: bool,
    /// What stands there.
    pub content: LeafContent,
}

/// What stands in a leaf's place.
///
/// # Secrets
/// Clear values are wiped on drop.
#[derive(Debug)]
pub enum LeafContent {
    /// An encrypted value.
    Sealed(SealedLeaf),
    /// A value in the clear, as the bytes that would be encrypted.
    Clear(SecretBytes),
    /// Null or the empty string.
    Empty,
}

/// An encrypted value as it stands.
#[derive(Debug)]
pub struct SealedLeaf {
    /// The token's text.
    pub text: String,
    token: Token,
    /// The additional data under which it may open, likeliest first.
    aads: Vec<String>,
}

impl SealedLeaf {
    /// Decrypts the value; none if `cipher` is not its document's, or the token was changed or moved.
    pub fn open(&self, cipher: &LeafCipher) -> Option<SecretBytes> {
        let mut aads = self.aads.iter();
        aads.find_map(|aad| cipher.open(&self.token, aad.as_bytes()).ok())
    }
}

impl Document {
    /// Every leaf and comment of the document, in order, encrypted or not.
    pub fn leaves(&self) -> Vec<ListedLeaf> {
        list(&self.parsed.tree, Some(&self.metadata.selection))
    }

    /// The text of the MAC's token; none if the document carries none.
    pub fn mac_text(&self) -> Option<&str> {
        self.metadata.mac.as_deref()
    }

    /// Whether `key` is this document's data key: whether it opens the MAC.
    pub fn is_data_key(&self, key: &DataKey) -> bool {
        self.carried_mac(&LeafCipher::new(key)).is_ok()
    }
}

/// The leaves of a file that is not encrypted.
pub fn plain_leaves(tree: &Tree) -> Vec<ListedLeaf> {
    list(tree, None)
}

fn list(tree: &Tree, selection: Option<&Selection>) -> Vec<ListedLeaf> {
    let mut lister = Lister {
        selection,
        document: 0,
        key: Vec::new(),
        aad: String::new(),
        containers: Vec::new(),
        leaves: Vec::new(),
    };
    for (index, document) in tree.documents.iter().enumerate() {
        lister.document = index;
        lister.mapping(document, Scope::default());
    }
    lister.leaves
}

struct Lister<'a> {
    /// None: nothing is encrypted.
    selection: Option<&'a Selection>,
    document: usize,
    key: Vec<String>,
    /// The keys on the way down, each followed by a colon; list indexes are no part of it.
    aad: String,
    /// The length of `aad` at each container on the way down.
    containers: Vec<usize>,
    leaves: Vec<ListedLeaf>,
}

impl Lister<'_> {
    fn mapping(&mut self, mapping: &Mapping, mut scope: Scope) {
        self.containers.push(self.aad.len());
        for item in &mapping.items {
            match item {
                MappingItem::Comment(comment) => self.comment(comment.text.expose(), &mut scope),
                MappingItem::Entry(entry) => {
                    let length = self.aad.len();
                    self.aad.push_str(&entry.key);
                    self.aad.push(':');
                    self.key.push(entry.key.clone());
                    let below = match self.selection {
                        Some(selection) => scope.under_key(selection, &entry.key),
                        None => scope.inside(),
                    };
                    self.node(&entry.value, below);
                    self.key.pop();
                    self.aad.truncate(length);
                    scope.passes_sibling();
                }
            }
        }
        self.containers.pop();
    }

    fn list(&mut self, list: &List, mut scope: Scope) {
        self.containers.push(self.aad.len());
        let mut index = 0_usize;
        for item in &list.items {
            match item {
                ListItem::Comment(comment) => self.comment(comment.text.expose(), &mut scope),
                ListItem::Node(Node::Leaf(leaf)) if self.is_comment(&leaf.value, scope) => {
                    self.comment(leaf.value.as_bytes().unwrap_or_default(), &mut scope);
                }
                ListItem::Node(node) => {
                    self.key.push(index.to_string());
                    self.node(node, scope.inside());
                    self.key.pop();
                    scope.passes_sibling();
                    index += 1;
                }
            }
        }
        self.containers.pop();
    }

    fn node(&mut self, node: &Node, scope: Scope) {
        match node {
            Node::Mapping(mapping) => self.mapping(mapping, scope),
            Node::List(list) => self.list(list, scope),
            Node::Leaf(leaf) => {
                let token = if self.covers(scope) {
                    token_of(&leaf.value).filter(|(_, token)| token.kind != Kind::Comment)
                } else {
                    None
                };
                let content = match token {
                    Some((text, token)) => LeafContent::Sealed(SealedLeaf {
                        text: text.to_owned(),
                        token,
                        aads: vec![self.aad.clone()],
                    }),
                    None => match leaf::to_bytes(&leaf.value) {
                        Some((_, bytes)) if !bytes.expose().is_empty() => LeafContent::Clear(bytes),
                        _ => LeafContent::Empty,
                    },
                };
                self.add(false, content);
            }
        }
    }

    fn comment(&mut self, text: &[u8], scope: &mut Scope) {
        let covered = match self.selection {
            Some(selection) => scope.meets_comment(selection, text),
            None => false,
        };
        let token = std::str::from_utf8(text).ok().filter(|_| covered);
        let token = token.and_then(|text| Some((text, Token::parse(text).ok()?)));
        let content = match token {
            Some((text, token)) => {
                let around = self.containers.iter().rev();
                let aads = around.map(|length| comment_aad(&self.aad[..*length]).to_owned());
                LeafContent::Sealed(SealedLeaf {
                    text: text.to_owned(),
                    token,
                    aads: std::iter::once(comment_aad(&self.aad).to_owned())
                        .chain(aads)
                        .collect(),
                })
            }
            None if text.is_empty() => LeafContent::Empty,
            None => LeafContent::Clear(SecretBytes::from_slice(text)),
        };
        self.add(true, content);
    }

    fn add(&mut self, is_comment: bool, content: LeafContent) {
        self.leaves.push(ListedLeaf {
            document: self.document,
            key: self.key.clone(),
            is_comment,
            content,
        });
    }

    fn covers(&self, scope: Scope) -> bool {
        self.selection.is_some_and(|s| scope.covers(s))
    }

    /// Whether an item of a list is the token of a comment, as sops writes comments there.
    fn is_comment(&self, value: &Value, scope: Scope) -> bool {
        self.covers(scope.inside())
            && token_of(value).is_some_and(|(_, token)| token.kind == Kind::Comment)
    }
}

fn token_of(value: &Value) -> Option<(&str, Token)> {
    let text = value.as_bytes().filter(|text| Token::is_likely(text))?;
    let text = std::str::from_utf8(text).ok()?;
    Some((text, Token::parse(text).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Identity, IdentitySet};
    use crate::sops::{EmitOptions, EncryptOptions, Store, encrypt};

    const PLAIN: &[u8] =
        b"# top\na: one\nb:\n    - x\n    # within\n    - y: two\n      z: \"\"\nc_unencrypted: three\n---\na: 4\n";

    #[test]
    fn every_leaf_is_listed_with_its_place_and_opens() {
        let identity = Identity::mint();
        let options = EncryptOptions {
            key_groups: vec![vec![identity.recipient().unwrap()]],
            threshold: None,
            selection: Selection::default(),
            mac_only_encrypted: false,
            now: jiff::Timestamp::UNIX_EPOCH,
            output: Store::Yaml,
            emit: EmitOptions::default(),
        };
        let encrypted = encrypt(Store::Yaml, PLAIN, &options).unwrap();
        let document = Document::parse(Store::Yaml, encrypted.bytes).unwrap();
        let key = document
            .unwrap_data_key(&IdentitySet::new(vec![identity]))
            .unwrap();
        let cipher = LeafCipher::new(&key);
        let told: Vec<String> = document
            .leaves()
            .iter()
            .map(|leaf| {
                let what = match &leaf.content {
                    LeafContent::Sealed(sealed) => {
                        let bytes = sealed.open(&cipher).unwrap();
                        format!("sealed {}", String::from_utf8_lossy(bytes.expose()))
                    }
                    LeafContent::Clear(bytes) => {
                        format!("clear {}", String::from_utf8_lossy(bytes.expose()))
                    }
                    LeafContent::Empty => "empty".to_owned(),
                };
                let comment = if leaf.is_comment { "#" } else { "" };
                format!("{}{}{comment} {what}", leaf.document, leaf.key.join("."))
            })
            .collect();
        assert_eq!(
            told,
            [
                "0# sealed  top",
                "0a sealed one",
                "0b.0 sealed x",
                "0b# sealed  within",
                "0b.1.y sealed two",
                "0b.1.z empty",
                "0c_unencrypted clear three",
                "1a sealed 4",
            ]
        );
        assert!(document.is_data_key(&key));
        assert!(!document.is_data_key(&DataKey::generate()));
    }
}
