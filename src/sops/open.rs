//! Decrypting a tree: every leaf that the selection covers, its path as additional data, the MAC along the way.

use std::ops::Range;

use crate::secret::SecretBytes;
use crate::sops::cipher::{CipherError, LeafCipher};
use crate::sops::ciphertext::{Token, TokenError};
use crate::sops::leaf::{self, Kind};
use crate::sops::mac::MacHasher;
use crate::sops::selection::{Scope, Selection};
use crate::sops::store::Store;
use crate::sops::store::error::line_at;
use crate::sops::tree::{
    Comment, Entry, Leaf, List, ListItem, Mapping, MappingItem, Node, Tree, Value,
};

/// A leaf that did not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}: {reason}", place(.key, *.line))]
pub struct LeafError {
    /// The keys on its path, joined by dots.
    pub key: String,
    /// Its line, from 1, if it stands in a file.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub reason: LeafFault,
}

fn place(key: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("line {line}, key `{key}`"),
        None => format!("key `{key}`"),
    }
}

/// What can be wrong with a leaf.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LeafFault {
    /// It is no token, or a damaged one.
    #[error("the value {0}")]
    Token(TokenError),
    /// It does not decrypt.
    #[error("the value {0}")]
    Cipher(CipherError),
    /// What it decrypts to does not fit its type.
    #[error("the value does not fit the type that its token names")]
    Type,
    /// A comment's token is of another type.
    #[error("the comment's token is not that of a comment")]
    NotAComment,
}

impl From<TokenError> for LeafFault {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<CipherError> for LeafFault {
    fn from(error: CipherError) -> Self {
        Self::Cipher(error)
    }
}

/// Something odd that does not keep a document from being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1, if known.
    pub line: Option<usize>,
    /// What is odd, without values.
    pub text: String,
}

/// An encrypted leaf or comment as found: what is needed to encrypt it anew in its place.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The scalar or comment in the source.
    pub place: Range<usize>,
    /// Its text, decoded; starts with the token.
    pub text: String,
    /// The token.
    pub token: Token,
    /// The additional data under which it opened.
    pub read_aad: String,
    /// The additional data that its place asks for.
    pub write_aad: String,
}

/// What decrypting gave.
pub(super) struct Opened {
    pub tree: Tree,
    pub sealed: Vec<Sealed>,
    pub warnings: Vec<Warning>,
    pub mac: MacHasher,
}

/// Decrypts `tree`.
pub(super) fn open(
    store: Store,
    source: &[u8],
    tree: &Tree,
    selection: &Selection,
    mac_only_encrypted: bool,
    cipher: &LeafCipher,
) -> Result<Opened, LeafError> {
    let mut opener = Opener {
        source,
        selection,
        cipher,
        mac_only_encrypted,
        is_json: store == Store::Json,
        path: String::new(),
        containers: Vec::new(),
        sealed: Vec::new(),
        warnings: Vec::new(),
        mac: MacHasher::new(mac_only_encrypted),
    };
    let mut documents = Vec::with_capacity(tree.documents.len());
    for document in &tree.documents {
        documents.push(opener.mapping(document, Scope::default())?);
    }
    Ok(Opened {
        tree: Tree { documents },
        sealed: opener.sealed,
        warnings: opener.warnings,
        mac: opener.mac,
    })
}

struct Opener<'a> {
    source: &'a [u8],
    selection: &'a Selection,
    cipher: &'a LeafCipher,
    mac_only_encrypted: bool,
    is_json: bool,
    /// The keys on the way down, each followed by a colon.
    path: String,
    /// The length of `path` at each container on the way down.
    containers: Vec<usize>,
    sealed: Vec<Sealed>,
    warnings: Vec<Warning>,
    mac: MacHasher,
}

impl Opener<'_> {
    fn mapping(&mut self, mapping: &Mapping, mut scope: Scope) -> Result<Mapping, LeafError> {
        self.containers.push(self.path.len());
        let mut items = Vec::with_capacity(mapping.items.len());
        for item in &mapping.items {
            items.push(match item {
                MappingItem::Comment(comment) => {
                    MappingItem::Comment(self.comment(comment, &mut scope)?)
                }
                MappingItem::Entry(entry) => {
                    let length = self.path.len();
                    self.path.push_str(&entry.key);
                    self.path.push(':');
                    let value =
                        self.node(&entry.value, scope.under_key(self.selection, &entry.key))?;
                    self.path.truncate(length);
                    scope.passes_sibling();
                    MappingItem::Entry(Entry {
                        key: entry.key.clone(),
                        value,
                    })
                }
            });
        }
        self.containers.pop();
        Ok(Mapping { items })
    }

    fn list(&mut self, list: &List, mut scope: Scope) -> Result<List, LeafError> {
        self.containers.push(self.path.len());
        let mut items = Vec::with_capacity(list.items.len());
        for item in &list.items {
            items.push(match item {
                ListItem::Comment(comment) => ListItem::Comment(self.comment(comment, &mut scope)?),
                ListItem::Node(Node::Leaf(leaf)) if self.is_comment_token(leaf, scope) => {
                    self.item_comment(leaf, &mut scope)?
                }
                ListItem::Node(node) => {
                    let node = self.node(node, scope.inside())?;
                    scope.passes_sibling();
                    ListItem::Node(node)
                }
            });
        }
        self.containers.pop();
        Ok(List { items })
    }

    fn node(&mut self, node: &Node, scope: Scope) -> Result<Node, LeafError> {
        Ok(match node {
            Node::Mapping(mapping) => Node::Mapping(self.mapping(mapping, scope)?),
            Node::List(list) => Node::List(self.list(list, scope)?),
            Node::Leaf(leaf) => Node::Leaf(self.leaf(leaf, scope)?),
        })
    }

    fn leaf(&mut self, leaf: &Leaf, scope: Scope) -> Result<Leaf, LeafError> {
        let covered = scope.covers(self.selection);
        let value = if covered {
            self.value(leaf)?
        } else {
            leaf.value.duplicate()
        };
        if covered {
            self.mac.feed(&value);
        } else if !self.mac_only_encrypted {
            if self.is_json {
                self.mac.feed_json(&value);
            } else {
                self.mac.feed(&value);
            }
        }
        Ok(Leaf {
            value,
            place: leaf.place.clone(),
        })
    }

    /// Decrypts a leaf that must be a token; null and the empty string stand for themselves.
    fn value(&mut self, leaf: &Leaf) -> Result<Value, LeafError> {
        let text = match &leaf.value {
            Value::Null => return Ok(Value::Null),
            Value::Str(text) if text.expose().is_empty() => return Ok(Value::text("")),
            Value::Str(text) => std::str::from_utf8(text.expose()).ok(),
            _ => None,
        };
        let fault = |reason| self.fault(leaf.place.as_ref(), reason);
        let text = text.ok_or_else(|| fault(TokenError::NotAToken.into()))?;
        let token = Token::parse(text).map_err(|e| fault(e.into()))?;
        let plain = self.cipher.open(&token, self.path.as_bytes());
        let plain = plain.map_err(|e| fault(e.into()))?;
        // A comment in the place of a value would drop out of the MAC.
        if token.kind == Kind::Comment {
            return Err(fault(LeafFault::Type));
        }
        let value = leaf::from_bytes(token.kind, plain).ok_or_else(|| fault(LeafFault::Type))?;
        self.remember(leaf.place.as_ref(), text, token, self.path.clone());
        Ok(value)
    }

    fn comment(&mut self, comment: &Comment, scope: &mut Scope) -> Result<Comment, LeafError> {
        let covered = scope.meets_comment(self.selection, comment.text.expose());
        let mut out = comment.duplicate();
        if covered
            && !comment.text.expose().is_empty()
            && let Some(text) = self.comment_text(&comment.text, comment.place.as_ref())?
        {
            out.text = text;
        }
        Ok(out)
    }

    /// Whether an item of a list is the token of a comment, as sops writes comments there.
    fn is_comment_token(&self, leaf: &Leaf, scope: Scope) -> bool {
        let text = leaf.value.as_bytes().filter(|t| Token::is_likely(t));
        let text = text.and_then(|t| std::str::from_utf8(t).ok());
        scope.inside().covers(self.selection)
            && text
                .and_then(|t| Token::parse(t).ok())
                .is_some_and(|t| t.kind == Kind::Comment)
    }

    fn item_comment(&mut self, leaf: &Leaf, scope: &mut Scope) -> Result<ListItem, LeafError> {
        let token = leaf.value.as_bytes().unwrap_or_default();
        scope.meets_comment(self.selection, token);
        let token = SecretBytes::from_slice(token);
        let text = self.comment_text(&token, leaf.place.as_ref())?;
        // Unlike `#…` text, an item is a value: one that does not decrypt is no comment somebody added by hand.
        let text = text.ok_or_else(|| self.fault(leaf.place.as_ref(), CipherError.into()))?;
        Ok(ListItem::Comment(Comment {
            text,
            place: leaf.place.clone(),
            inline: false,
        }))
    }

    /// Decrypts the text of a comment; none, and a warning, if it does not decrypt.
    ///
    /// A comment that sops attached to another container than the one it was encrypted in still opens: the paths of
    /// all containers around it are tried.
    fn comment_text(
        &mut self,
        text: &SecretBytes,
        place: Option<&Range<usize>>,
    ) -> Result<Option<SecretBytes>, LeafError> {
        let token = std::str::from_utf8(text.expose())
            .map_err(|_| TokenError::NotAToken)
            .and_then(|text| Ok((text, Token::parse(text)?)));
        let Ok((text, token)) = token else {
            self.warn(place, "a comment is not encrypted; kept as it is");
            return Ok(None);
        };
        let here = comment_aad(&self.path).to_owned();
        let around = self.containers.iter().rev();
        let aads = around.map(|length| comment_aad(&self.path[..*length]));
        let opened = std::iter::once(here.as_str()).chain(aads).find_map(|aad| {
            Some((
                aad.to_owned(),
                self.cipher.open(&token, aad.as_bytes()).ok()?,
            ))
        });
        let Some((read_aad, plain)) = opened else {
            self.warn(place, "a comment does not decrypt; kept as it is");
            return Ok(None);
        };
        if token.kind != Kind::Comment {
            return Err(self.fault(place, LeafFault::NotAComment));
        }
        if read_aad != here {
            self.warn(
                place,
                "a comment is encrypted for another place; sops would print it encrypted",
            );
        }
        if let Some(place) = place {
            self.sealed.push(Sealed {
                place: place.clone(),
                text: text.to_owned(),
                token,
                read_aad,
                write_aad: here,
            });
        }
        Ok(Some(plain))
    }

    fn remember(&mut self, place: Option<&Range<usize>>, text: &str, token: Token, aad: String) {
        if let Some(place) = place {
            self.sealed.push(Sealed {
                place: place.clone(),
                text: text.to_owned(),
                token,
                read_aad: aad.clone(),
                write_aad: aad,
            });
        }
    }

    fn line(&self, place: Option<&Range<usize>>) -> Option<usize> {
        place.map(|p| line_at(self.source, p.start))
    }

    fn warn(&mut self, place: Option<&Range<usize>>, text: &str) {
        let line = self.line(place);
        self.warnings.push(Warning {
            line,
            text: text.to_owned(),
        });
    }

    fn fault(&self, place: Option<&Range<usize>>, reason: LeafFault) -> LeafError {
        LeafError {
            key: self.path.trim_end_matches(':').replace(':', "."),
            line: self.line(place),
            reason,
        }
    }
}

/// The additional data of a comment in the container whose keys, each with its colon, are `path`.
pub(super) fn comment_aad(path: &str) -> &str {
    if path.is_empty() { ":" } else { path }
}
