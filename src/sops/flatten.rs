//! The metadata as flat keys, for dotenv and INI: `age__list_0__map_enc`.
//!
//! Source: sops 3.11.0 `stores/flatten.go`.

use crate::sops::store::StoreError;
use crate::sops::tree::{Leaf, List, ListItem, Mapping, Node, Value};

const MAP: &str = "__map_";
const LIST: &str = "__list_";

/// Turns a mapping into flat keys and texts, in its order; nulls and empty containers vanish.
///
/// # Errors
/// [`StoreError::BadMetadata`] for text that is not UTF-8.
pub fn flatten(mapping: &Mapping) -> Result<Vec<(String, String)>, StoreError> {
    let mut out = Vec::new();
    for entry in mapping.entries() {
        flatten_node(&entry.key, &entry.value, &mut out)?;
    }
    Ok(out)
}

fn flatten_node(key: &str, node: &Node, out: &mut Vec<(String, String)>) -> Result<(), StoreError> {
    match node {
        Node::Mapping(mapping) => {
            for entry in mapping.entries() {
                flatten_node(&format!("{key}{MAP}{}", entry.key), &entry.value, out)?;
            }
        }
        Node::List(list) => {
            for (i, item) in list.nodes().enumerate() {
                flatten_node(&format!("{key}{LIST}{i}"), item, out)?;
            }
        }
        Node::Leaf(leaf) => {
            let text = match &leaf.value {
                Value::Null => return Ok(()),
                Value::Str(text) | Value::Time(text) => {
                    let text = std::str::from_utf8(text.expose());
                    text.map_err(|_| bad("a field is not UTF-8"))?.to_owned()
                }
                Value::Bool(b) => b.to_string(),
                Value::Int(n) => n.to_string(),
                Value::Float(x) => x.to_string(),
            };
            out.push((key.to_owned(), text));
        }
    }
    Ok(())
}

/// Rebuilds the mapping from flat keys; members keep the order of their first appearance, list items go by number.
///
/// # Errors
/// [`StoreError::BadMetadata`] if two keys contradict each other.
pub fn unflatten(flat: Vec<(String, Leaf)>) -> Result<Mapping, StoreError> {
    let mut root = Branch::default();
    for (key, leaf) in flat {
        let mut steps = Vec::new();
        split(&key, &mut steps)?;
        root.insert(&steps, leaf)?;
    }
    root.into_mapping()
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Item(usize),
}

fn split(key: &str, steps: &mut Vec<Step>) -> Result<(), StoreError> {
    let mut rest = key;
    let mut is_item = false;
    loop {
        let map = rest.find(MAP).map(|at| (at, MAP.len(), false));
        let list = rest.find(LIST).map(|at| (at, LIST.len(), true));
        let next = [map, list].into_iter().flatten().min();
        let part = next.map_or(rest, |(at, _, _)| &rest[..at]);
        steps.push(if is_item {
            Step::Item(part.parse().map_err(|_| bad("a list index is no number"))?)
        } else {
            Step::Member(part.to_owned())
        });
        let Some((at, length, item)) = next else {
            return Ok(());
        };
        rest = &rest[at + length..];
        is_item = item;
        if steps.len() > 16 {
            return Err(bad("a flat key is nested too deeply"));
        }
    }
}

#[derive(Default)]
struct Branch {
    children: Vec<(Step, Twig)>,
}

enum Twig {
    Leaf(Leaf),
    Branch(Branch),
}

impl Branch {
    fn insert(&mut self, steps: &[Step], leaf: Leaf) -> Result<(), StoreError> {
        let Some((first, rest)) = steps.split_first() else {
            return Err(bad("a flat key is empty"));
        };
        let found = self.children.iter_mut().find(|(step, _)| step == first);
        match found {
            None if rest.is_empty() => self.children.push((first.clone(), Twig::Leaf(leaf))),
            None => {
                let mut branch = Branch::default();
                branch.insert(rest, leaf)?;
                self.children.push((first.clone(), Twig::Branch(branch)));
            }
            Some((_, Twig::Branch(branch))) if !rest.is_empty() => branch.insert(rest, leaf)?,
            // A repeated line: the last wins, as in sops.
            Some((_, twig @ Twig::Leaf(_))) if rest.is_empty() => *twig = Twig::Leaf(leaf),
            Some(_) => return Err(bad("two flat keys contradict each other")),
        }
        Ok(())
    }

    fn into_mapping(self) -> Result<Mapping, StoreError> {
        let mut mapping = Mapping::default();
        for (step, twig) in self.children {
            match step {
                Step::Member(key) => mapping.push(key, twig.into_node()?),
                Step::Item(_) => return Err(bad("a list and a mapping share a flat key")),
            }
        }
        Ok(mapping)
    }

    fn into_list(mut self) -> Result<List, StoreError> {
        self.children.sort_by_key(|(step, _)| match step {
            Step::Item(i) => *i,
            Step::Member(_) => usize::MAX,
        });
        let mut list = List::default();
        for (step, twig) in self.children {
            match step {
                Step::Item(_) => list.items.push(ListItem::Node(twig.into_node()?)),
                Step::Member(_) => return Err(bad("a list and a mapping share a flat key")),
            }
        }
        Ok(list)
    }
}

impl Twig {
    fn into_node(self) -> Result<Node, StoreError> {
        Ok(match self {
            Twig::Leaf(leaf) => Node::Leaf(leaf),
            Twig::Branch(branch) => match branch.children.first() {
                Some((Step::Item(_), _)) => Node::List(branch.into_list()?),
                _ => Node::Mapping(branch.into_mapping()?),
            },
        })
    }
}

fn bad(reason: &str) -> StoreError {
    StoreError::BadMetadata {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Leaf {
        Leaf::made(Value::text(text))
    }

    #[test]
    fn unflattening_and_flattening_are_inverse() {
        let flat = [
            ("key_groups__list_0__map_age__list_0__map_enc", "e"),
            ("key_groups__list_0__map_age__list_0__map_recipient", "r"),
            ("key_groups__list_1__map_age__list_0__map_recipient", "s"),
            ("mac", "m"),
            ("shamir_threshold", "2"),
        ];
        let mapping = unflatten(
            flat.iter()
                .map(|(k, v)| ((*k).to_owned(), leaf(v)))
                .collect(),
        )
        .unwrap();
        let back = flatten(&mapping).unwrap();
        let back: Vec<(&str, &str)> = back.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(back, flat);
    }

    #[test]
    fn list_items_go_by_number_and_contradictions_are_refused() {
        let mapping = unflatten(vec![
            ("a__list_10".to_owned(), leaf("x")),
            ("a__list_2".to_owned(), leaf("y")),
        ])
        .unwrap();
        let Some(Node::List(list)) = mapping.get("a") else {
            panic!("no list")
        };
        assert_eq!(list.nodes().next().unwrap().as_str().unwrap(), "y");
        for keys in [
            ["a", "a__map_b"],
            ["a__map_b", "a"],
            ["a__list_0", "a__map_b"],
            ["a__list_x", "b"],
        ] {
            let flat = keys.iter().map(|k| ((*k).to_owned(), leaf("v"))).collect();
            assert!(unflatten(flat).is_err(), "{keys:?}");
        }
    }
}
