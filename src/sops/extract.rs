//! One part of a plaintext, by a path like `["key"][0]`.
//!
//! Source: sops 3.11.0 `cmd/sops/main.go` (`parseTreePath`), `cmd/sops/decrypt.go`.

use crate::secret::SecretBytes;
use crate::sops::store::{self, EmitOptions, Store, StoreError};
use crate::sops::tree::{Mapping, Node, Tree, Value};

/// A parsed path; never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct ExtractPath(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Why a part cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExtractError {
    /// The path is malformed.
    #[error("{0:?} is not a path like [\"key\"][0]")]
    Syntax(String),
    /// There is no such key.
    #[error("there is no key {0:?} there")]
    NoKey(String),
    /// The list is shorter.
    #[error("there is no item {0} there")]
    NoItem(usize),
}

impl ExtractPath {
    /// Parses brackets around quoted keys and bare indexes; nothing in a key is unescaped, as in sops.
    ///
    /// # Errors
    /// [`ExtractError::Syntax`].
    pub fn parse(text: &str) -> Result<Self, ExtractError> {
        let bad = || ExtractError::Syntax(text.to_owned());
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let inner = rest.strip_prefix('[').ok_or_else(bad)?;
            let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (step, tail) = match quote {
                Some(quote) => {
                    let (key, tail) = inner[1..]
                        .split_once(&format!("{quote}]"))
                        .ok_or_else(bad)?;
                    (Step::Key(key.to_owned()), tail)
                }
                None => {
                    let (index, tail) = inner.split_once(']').ok_or_else(bad)?;
                    (Step::Index(index.parse().map_err(|_| bad())?), tail)
                }
            };
            steps.push(step);
            rest = tail;
        }
        if steps.is_empty() {
            return Err(bad());
        }
        Ok(Self(steps))
    }

    /// The part of the first document that the path names.
    ///
    /// # Errors
    /// [`ExtractError::NoKey`], [`ExtractError::NoItem`].
    pub fn find<'t>(&self, tree: &'t Tree) -> Result<&'t Node, ExtractError> {
        let mut here: Option<&Node> = None;
        for step in &self.0 {
            here = Some(match step {
                Step::Key(key) => {
                    let mapping = match here {
                        None => tree.documents.first(),
                        Some(Node::Mapping(mapping)) => Some(mapping),
                        Some(_) => None,
                    };
                    mapping
                        .and_then(|m| m.get(key))
                        .ok_or_else(|| ExtractError::NoKey(key.clone()))?
                }
                Step::Index(index) => {
                    let list = match here {
                        Some(Node::List(list)) => Some(list),
                        _ => None,
                    };
                    list.and_then(|l| l.nodes().nth(*index))
                        .ok_or(ExtractError::NoItem(*index))?
                }
            });
        }
        here.ok_or(ExtractError::NoItem(0))
    }
}

/// Prints a part: a string as it is, a mapping as a file, anything else as one value.
///
/// # Errors
/// [`StoreError::NotPrintable`].
pub fn emit(node: &Node, output: Store, options: &EmitOptions) -> Result<SecretBytes, StoreError> {
    match node {
        Node::Leaf(leaf) => match &leaf.value {
            Value::Str(text) => Ok(text.duplicate()),
            _ => store::emit_node(output, node, options),
        },
        Node::Mapping(mapping) => {
            let tree = Tree {
                documents: vec![Mapping::duplicate(mapping)],
            };
            store::emit(output, &tree, None, options)
        }
        Node::List(_) => store::emit_node(output, node, options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_keys_and_indexes() {
        let path = ExtractPath::parse("[\"a b\"]['c'][10]").unwrap();
        assert_eq!(
            path.0,
            [
                Step::Key("a b".to_owned()),
                Step::Key("c".to_owned()),
                Step::Index(10)
            ]
        );
        for bad in ["", "a", "[a]", "[\"a]", "[\"a\"", "[1", "[-1]", "[]"] {
            assert!(ExtractPath::parse(bad).is_err(), "{bad}");
        }
    }
}
