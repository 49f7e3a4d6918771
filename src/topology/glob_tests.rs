use proptest::prelude::*;

use super::*;

fn regex(text: &str) -> String {
    Glob::parse(text).unwrap().to_regex()
}

#[test]
fn becomes_a_short_regex() {
    assert_eq!(
        regex("docker/stacks/{kasm,komodo}/**/*.sops.{env,json,yaml}"),
        r"^docker/stacks/(kasm|komodo)/(.*/)?[^/]*\.sops\.(env|json|yaml)$"
    );
    assert_eq!(
        regex("proxmox/**/*.sops.yml"),
        r"^proxmox/(.*/)?[^/]*\.sops\.yml$"
    );
    assert_eq!(regex("a/b+c.yaml"), r"^a/b\+c\.yaml$");
    assert_eq!(regex("a/**"), "^a/.*$");
    assert_eq!(regex("s{,ecret}.env"), r"^s(ecret)?\.env$");
    assert_eq!(regex("{a}.env"), r"^a\.env$");
    assert_eq!(regex("[a-c][!x].env"), r"^[a-c][^/x]\.env$");
}

#[test]
fn joins_globs_around_what_they_share() {
    let globs = [
        "kubernetes/**/*secret*.yaml",
        "kubernetes/**/*credentials*.yaml",
    ]
    .map(|g| Glob::parse(g).unwrap());
    assert_eq!(
        Glob::join(&globs),
        r"^kubernetes/(.*/)?[^/]*(secret|credentials)[^/]*\.yaml$"
    );
    let globs = ["a/x.env", "a/x.env"].map(|g| Glob::parse(g).unwrap());
    assert_eq!(Glob::join(&globs), r"^a/x\.env$");
    let globs = ["a/x.env", "b/y.json"].map(|g| Glob::parse(g).unwrap());
    assert_eq!(Glob::join(&globs), r"^(a/x\.env|b/y\.json)$");
}

#[test]
fn matches_as_documented() {
    let matches = |glob: &str, path: &str| Glob::parse(glob).unwrap().matches(path);
    assert!(matches("a/*.sops.env", "a/.sops.env"));
    assert!(matches("a/**/*.env", "a/x.env"));
    assert!(matches("a/**/*.env", "a/b/c/x.env"));
    assert!(!matches("a/**/*.env", "ab/x.env"));
    assert!(!matches("a/*.env", "a/b/x.env"));
    assert!(!matches("a/*.env", "z/a/x.env"));
    assert!(!matches("a/x.env", "a/xyenv"));
    assert!(matches("{a,b/{c,d}}/x", "b/d/x"));
    assert!(matches("**/x", "x"));
    assert!(matches("**", "a/b"));
    assert!(!matches("a?b", "a/b"));
    assert!(!matches("a[!x]b", "a/b"));
    assert!(matches(r"a\*b", "a*b"));
    assert!(matches("[[&~^-]x", "&x"));
    assert!(matches("é/*", "é/ü"));
}

#[test]
fn refuses_what_no_path_is() {
    for (text, error) in [
        ("", GlobError::Empty),
        ("/a", GlobError::Outside),
        ("../a", GlobError::Outside),
        ("a//b", GlobError::Outside),
        ("a/", GlobError::Folder),
        ("{a", GlobError::Brace),
        ("a}", GlobError::Brace),
        ("[a", GlobError::Class),
        ("[+-9]", GlobError::Class),
        ("[z-a]", GlobError::Class),
        ("a**", GlobError::DoubleStar),
        ("**b", GlobError::DoubleStar),
        ("a\\", GlobError::Escape),
    ] {
        assert_eq!(Glob::parse(text).unwrap_err(), error, "{text}");
    }
}

/// The meaning of a glob, written a second time: all ways to consume a prefix of `path`.
fn rests<'p>(atoms: &[Atom], path: &'p str) -> Vec<&'p str> {
    let Some((first, others)) = atoms.split_first() else {
        return vec![path];
    };
    let mut out = Vec::new();
    let mut go = |rest: &'p str| out.extend(rests(others, rest));
    match first {
        Atom::Char(c) => path.strip_prefix(*c).into_iter().for_each(&mut go),
        Atom::One => {
            if let Some(c) = path.chars().next().filter(|c| *c != '/') {
                go(&path[c.len_utf8()..]);
            }
        }
        Atom::Run => {
            let end = path.find('/').unwrap_or(path.len());
            for (i, _) in path[..end].char_indices().chain([(end, ' ')]) {
                go(&path[i..]);
            }
        }
        Atom::Folders => {
            go(path);
            for (i, _) in path.match_indices('/') {
                go(&path[i + 1..]);
            }
        }
        Atom::Below => {
            if others.is_empty() {
                go("");
            }
        }
        Atom::Class(text) => {
            if let Some(c) = path.chars().next() {
                let class = text.trim_start_matches('[').trim_end_matches(']');
                let (negated, set) = class
                    .strip_prefix("^/")
                    .map_or((false, class), |s| (true, s));
                if c != '/' && set.contains(c) != negated {
                    go(&path[c.len_utf8()..]);
                }
            }
        }
        Atom::Choice(patterns) => {
            for pattern in patterns {
                for rest in rests(pattern, path) {
                    go(rest);
                }
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn regex_and_meaning_agree(
        globs in prop::collection::vec("([ab.]|\\*|\\?|/|\\*\\*/|\\{a,b\\}|\\{,a/,\\.b\\}|\\[ab\\]|\\[!a\\]){1,8}", 1..3),
        paths in prop::collection::vec("[ab./]{1,8}", 1..20),
    ) {
        let globs: Vec<Glob> = globs.iter().filter_map(|text| Glob::parse(text).ok()).collect();
        let joined = Regex::new(&Glob::join(&globs)).unwrap();
        for path in &paths {
            let mut any = false;
            for glob in &globs {
                let meant = rests(glob.atoms(), path).contains(&"");
                prop_assert_eq!(glob.matches(path), meant, "{} on {}", glob, path);
                any |= meant;
            }
            if !globs.is_empty() {
                prop_assert_eq!(joined.is_match(path), any, "{} on {}", joined.as_str(), path);
            }
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,20}") {
        let _ = Glob::parse(&text);
    }
}
