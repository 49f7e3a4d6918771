//! Protocol rule 6: a recipient leaves only together with the data key. Every wrap that history keeps for the retired
//! identity, spliced into today's documents, opens nothing: neither for real sops nor for us.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::homeops::Homeops;
use crate::support::{Ran, have_peers};

/// The armored wraps for `recipient` in a document's text, by its format's own rules, found by their beginning.
fn wraps(text: &str, recipient: &str) -> BTreeSet<String> {
    // One line in dotenv and JSON, an indented block in YAML.
    let text = text.replace("\\n", "\n");
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("-----BEGIN AGE ENCRYPTED FILE-----") {
        let end = text[at..].find("-----END AGE ENCRYPTED FILE-----").unwrap() + at;
        let body: Vec<&str> = text[at..end]
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        // The recipient stands within a few lines of its wrap.
        let from = text[..at]
            .char_indices()
            .rev()
            .nth(200)
            .map_or(0, |(i, _)| i);
        let to = (end + 250).min(text.len());
        if text
            .get(from..to)
            .is_some_and(|near| near.contains(recipient))
        {
            found.insert(format!(
                "{}\n-----END AGE ENCRYPTED FILE-----\n",
                body.join("\n")
            ));
        }
    }
    found
}

/// A document's text with its first wrap, whoever it is for, replaced: by `wrap`, for `recipient`.
fn splice(path: &str, text: &str, recipient: &str, wrap: &str) -> String {
    if path.ends_with(".env") {
        let lines = text.lines().map(|line| {
            if line.starts_with("sops_age__list_0__map_enc=") {
                format!("sops_age__list_0__map_enc={}", wrap.replace('\n', "\\n"))
            } else if line.starts_with("sops_age__list_0__map_recipient=") {
                format!("sops_age__list_0__map_recipient={recipient}")
            } else {
                line.to_owned()
            }
        });
        lines.map(|line| line + "\n").collect()
    } else if path.ends_with(".json") {
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["sops"]["age"][0]["recipient"] = recipient.into();
        json["sops"]["age"][0]["enc"] = wrap.into();
        serde_json::to_string_pretty(&json).unwrap()
    } else {
        let mut done = (false, false);
        let mut inside = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            if !done.0 && line.contains("recipient: age1") {
                let at = line.find("recipient:").unwrap();
                lines.push(format!("{}recipient: {recipient}", &line[..at]));
                done.0 = true;
            } else if !done.1 && line.contains("-----BEGIN AGE") {
                let indent = &line[..line.find('-').unwrap()];
                lines.extend(wrap.lines().map(|l| format!("{indent}{l}")));
                (inside, done.1) = (true, true);
            } else if inside {
                inside = !line.contains("-----END AGE");
            } else {
                lines.push(line.to_owned());
            }
        }
        assert_eq!(done, (true, true), "{path}");
        lines.join("\n") + "\n"
    }
}

#[test]
fn old_wraps_open_nothing_new() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let root = homeops.repository();
    let git = |args: &[&str]| homeops.sandbox.git(&root, args);
    let shared = homeops.shared.as_str().to_owned();
    let old_key = homeops.sandbox.path().join("shared.txt");
    std::fs::copy(crate::support::homeops::fixture("shared-key.txt"), &old_key).unwrap();

    // All wraps of all versions, by path.
    let mut history: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for commit in git(&["rev-list", "--all"]).lines() {
        for path in Homeops::expected().keys() {
            let blob = format!("{commit}:{path}");
            let shown = Ran::of(homeops.sandbox.command("git", &root).args(["show", &blob]));
            if shown.code == Some(0) {
                let found = wraps(&shown.stdout, &shared);
                assert_eq!(found.len(), 1, "{blob}");
                history.entry(path.clone()).or_default().extend(found);
            }
        }
    }
    let count: usize = history.values().map(BTreeSet::len).sum();
    assert!(
        history.len() == 29 && count > 29,
        "{count} wraps of {} files",
        history.len()
    );
    println!("{count} wraps of {} files", history.len());

    let opens = |path: &str, text: &str, ignore_mac: bool| {
        let file = homeops.sandbox.path().join("spliced").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        ["sops", crate::support::COFFERDAM].map(|program| {
            let mut command = homeops.sandbox.command(program, homeops.sandbox.path());
            command.arg("decrypt").env("SOPS_AGE_KEY_FILE", &old_key);
            if ignore_mac {
                command.arg("--ignore-mac");
            }
            Ran::of(command.arg(&file)).code == Some(0)
        })
    };
    // The splice is done right: what was HEAD opens with its own wrap spliced in.
    for (path, wraps) in &history {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        let any = wraps
            .iter()
            .any(|wrap| opens(path, &splice(path, &text, &shared, wrap), false) == [true, true]);
        assert!(any, "no wrap of {path} opens it before the split");
    }

    homeops.split().expect_code(0);
    for (path, wraps) in &history {
        let text = std::fs::read_to_string(root.join(path)).unwrap();
        for wrap in wraps {
            let spliced = splice(path, &text, &shared, wrap);
            assert!(spliced.contains(&shared));
            for ignore_mac in [false, true] {
                let opened = opens(path, &spliced, ignore_mac);
                assert_eq!(opened, [false, false], "{path} opens by an old wrap");
            }
        }
    }
}
