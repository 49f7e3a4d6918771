//! Where comments land in the tree and in print.

use super::{parsed, printed};
use crate::sops::tree::{ListItem, Mapping, MappingItem, Node};

/// The tree in one line: `#…` for comments, `#…|` for those beside a value.
fn outline(mapping: &Mapping) -> String {
    let items: Vec<String> = mapping
        .items
        .iter()
        .map(|item| match item {
            MappingItem::Comment(comment) => comment_outline(comment.text.expose(), comment.inline),
            MappingItem::Entry(entry) => format!("{}:{}", entry.key, node_outline(&entry.value)),
        })
        .collect();
    format!("{{{}}}", items.join(" "))
}

fn node_outline(node: &Node) -> String {
    match node {
        Node::Leaf(_) => "=".to_owned(),
        Node::Mapping(mapping) => outline(mapping),
        Node::List(list) => {
            let items: Vec<String> = list
                .items
                .iter()
                .map(|item| match item {
                    ListItem::Comment(comment) => {
                        comment_outline(comment.text.expose(), comment.inline)
                    }
                    ListItem::Node(node) => node_outline(node),
                })
                .collect();
            format!("[{}]", items.join(" "))
        }
    }
}

fn comment_outline(text: &[u8], inline: bool) -> String {
    format!(
        "#{}{}",
        String::from_utf8_lossy(text),
        if inline { "|" } else { "" }
    )
}

fn first(text: &str) -> String {
    outline(&parsed(text).tree.documents[0])
}

#[test]
fn comments_land_where_go_yaml_puts_them() {
    for (text, expected) in [
        ("#a\nk: 1\n", "{#a k:=}"),
        ("#a\n\n#b\nk: 1\n", "{#a #b k:=}"),
        ("k: 1 #a\n", "{#a| k:=}"),
        ("#h\nk: 1 #l\n#f\n", "{#h #l| k:= #f}"),
        ("m: #a\n  k: 1\n", "{#a| m:{k:=}}"),
        ("m:\n  #a\n  k: 1\n  #b\n", "{m:{#a k:= #b}}"),
        ("m:\n  k: 1\n\n  #b\nz: 2\n", "{m:{k:= #b} z:=}"),
        ("m:\n  k: 1\n#b\nz: 2\n", "{m:{k:=} #b z:=}"),
        ("k: | #a\n  x\n", "{#a| k:=}"),
        ("k: [1, 2] #a\n", "{k:[#a| = =]}"),
        ("k: [1, #a\n  2 #b\n  ]\n", "{k:[#a| = #b| =]}"),
        (
            "l:\n  #a\n  - x #b\n  #c\n  - y\n  #d\n",
            "{l:[#a #b| = #c = #d]}",
        ),
        ("l:\n  - #a\n    k: 1\n", "{l:[{#a k:=}]}"),
        ("l:\n  - k: 1 #a\n    j: 2\n", "{l:[{#a| k:= j:=}]}"),
        ("e: {} #a\n", "{e:{#a|}}"),
        ("e: [] #a\n", "{e:[#a|]}"),
        ("k:\n  #a\nj: 1\n", "{k:= #a j:=}"),
        ("#\nk: 1\n", "{# k:=}"),
        ("k: 1\n#a\n...\n", "{k:= #a}"),
    ] {
        assert_eq!(first(text), expected, "{text:?}");
    }
}

#[test]
fn comments_print_on_lines_of_their_own() {
    assert_eq!(
        printed(
            "# top\n\n# head\na: 1 # line\n# foot\n\nl: # beside\n  - x # x\n  # last\n# end\n"
        ),
        "# top\n# head\n# line\na: 1\n# foot\n# beside\nl:\n    # x\n    - x\n    # last\n# end\n"
    );
}

#[test]
fn between_documents() {
    let tree = parsed("# a\n---\n# b\nk: 1\n# c\n---\n# d\nj: 2\n").tree;
    assert_eq!(outline(&tree.documents[0]), "{# a # b k:= # c}");
    assert_eq!(outline(&tree.documents[1]), "{# d j:=}");
}
