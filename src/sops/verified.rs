//! Plaintext that can be believed: a document whose MAC was checked.

use crate::keys::DataKey;
use crate::secret::SecretBytes;
use crate::sops::leaf::Kind;
use crate::sops::mac::MacMatch;
use crate::sops::open::{Sealed, Warning};
use crate::sops::store::{self, EmitOptions, Store, StoreError};
use crate::sops::tree::{ListItem, Mapping, MappingItem, Node, Tree};

/// The plaintext of a document that decrypted and whose MAC matched.
#[derive(Debug)]
pub struct Verified {
    plaintext: Unverified,
    data_key: DataKey,
    pub(super) sealed: Vec<Sealed>,
    /// The document that it was read from.
    pub(super) document: u64,
    _proof: MacMatch,
}

/// The plaintext of a document whose MAC was not looked at, on the caller's word: for reading only.
#[derive(Debug)]
pub struct Unverified {
    tree: Tree,
    warnings: Vec<Warning>,
}

impl Verified {
    pub(super) fn new(
        plaintext: Unverified,
        data_key: &DataKey,
        sealed: Vec<Sealed>,
        proof: MacMatch,
        document: u64,
    ) -> Option<Self> {
        Some(Self {
            plaintext,
            data_key: DataKey::from_bytes(data_key.expose())?,
            sealed,
            document,
            _proof: proof,
        })
    }

    /// The plaintext.
    pub fn tree(&self) -> &Tree {
        &self.plaintext.tree
    }

    /// The data key that opened it.
    pub fn data_key(&self) -> &DataKey {
        &self.data_key
    }

    /// What was odd, values aside.
    pub fn warnings(&self) -> &[Warning] {
        &self.plaintext.warnings
    }

    /// How many values are encrypted and not empty; comments do not count.
    pub fn encrypted_values(&self) -> usize {
        let is_value = |sealed: &&Sealed| sealed.token.kind != Kind::Comment;
        self.sealed.iter().filter(is_value).count()
    }

    /// Whether both hold the same keys, typed leaves and comments in the same order.
    pub fn same_plaintext(&self, other: &Verified) -> bool {
        same_tree(self.tree(), other.tree())
    }

    /// Prints it in `store`'s format, as `sops decrypt` does.
    ///
    /// # Errors
    /// [`StoreError::NotPrintable`] if the format cannot say it.
    pub fn emit(&self, store: Store, options: &EmitOptions) -> Result<SecretBytes, StoreError> {
        self.plaintext.emit(store, options)
    }
}

impl Unverified {
    pub(super) fn new(tree: Tree, warnings: Vec<Warning>) -> Self {
        Self { tree, warnings }
    }

    /// The plaintext.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What was odd, values aside.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Prints it in `store`'s format, as `sops decrypt` does.
    ///
    /// # Errors
    /// [`StoreError::NotPrintable`] if the format cannot say it.
    pub fn emit(&self, store: Store, options: &EmitOptions) -> Result<SecretBytes, StoreError> {
        store::emit(store, &self.tree, None, options)
    }
}

/// Whether two trees hold the same keys, typed leaves and comments in the same order; places do not count.
pub fn same_tree(a: &Tree, b: &Tree) -> bool {
    all_same(&a.documents, &b.documents, same_mapping)
}

fn all_same<T>(a: &[T], b: &[T], same: impl Fn(&T, &T) -> bool) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y))
}

fn same_mapping(a: &Mapping, b: &Mapping) -> bool {
    all_same(&a.items, &b.items, |x, y| match (x, y) {
        (MappingItem::Comment(x), MappingItem::Comment(y)) => x.text == y.text,
        (MappingItem::Entry(x), MappingItem::Entry(y)) => {
            x.key == y.key && same_node(&x.value, &y.value)
        }
        _ => false,
    })
}

fn same_node(a: &Node, b: &Node) -> bool {
    match (a, b) {
        (Node::Mapping(a), Node::Mapping(b)) => same_mapping(a, b),
        (Node::List(a), Node::List(b)) => all_same(&a.items, &b.items, |x, y| match (x, y) {
            (ListItem::Comment(x), ListItem::Comment(y)) => x.text == y.text,
            (ListItem::Node(x), ListItem::Node(y)) => same_node(x, y),
            _ => false,
        }),
        (Node::Leaf(a), Node::Leaf(b)) => a.value.same(&b.value),
        _ => false,
    }
}
