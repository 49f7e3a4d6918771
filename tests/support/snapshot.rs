//! Texts that people see, compared with files under `tests/snapshots/`.
//!
//! `COFFERDAM_UPDATE_SNAPSHOTS=1 cargo test` writes them anew; read the difference before you commit it.

use std::path::Path;

use regex::Regex;

use super::homeops::Homeops;
use super::tests_folder;

/// Fails unless `text` is what the file `tests/snapshots/NAME.txt` holds.
#[track_caller]
pub fn expect_snapshot(name: &str, text: &str) {
    let file = tests_folder().join("snapshots").join(format!("{name}.txt"));
    if std::env::var_os("COFFERDAM_UPDATE_SNAPSHOTS").is_some_and(|v| v == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let wanted = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        wanted == text,
        "{} differs; COFFERDAM_UPDATE_SNAPSHOTS=1 writes it anew\n--- wanted\n{wanted}\n--- is\n{text}",
        file.strip_prefix(tests_folder())
            .unwrap_or(Path::new(""))
            .display()
    );
}

/// `text` without what differs from run to run: folders, recipients, dates and process numbers, each replaced by words
/// of the same width where columns depend on it.
pub fn masked(homeops: &Homeops, text: &str) -> String {
    let mut text = text.replace(homeops.sandbox.path().to_str().unwrap(), "$SANDBOX");
    let mut known = vec![(homeops.laptop.clone(), "laptop")];
    if let Ok(file) = std::fs::read(homeops.recovery_file()) {
        let keys = cofferdam::keys::key_file::KeyFile::parse(&file).unwrap();
        known.push((keys.recipients().remove(0), "recovery"));
    }
    for (recipient, name) in known {
        text = text.replace(recipient.as_str(), &format!("age1<{name}>"));
        let short: String = format!("{name}{name}").chars().take(8).collect();
        text = text.replace(&recipient.short(), &format!("{}…{}", &short, "···"));
    }
    for (pattern, words) in [
        (r"age1[a-z0-9]{58}", "age1<recipient>"),
        (r"-20\d\d-\d\d\b", "-YYYY-MM"),
        (r"process \d+", "process N"),
        (r"\b20\d{6}T\d{6}Z-[0-9a-f]{4}\b", "RUN"),
    ] {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern
            .replace_all(&text, |found: &regex::Captures<'_>| {
                if found[0] == *homeops.shared.as_str() {
                    found[0].to_owned()
                } else {
                    words.to_owned()
                }
            })
            .into_owned();
    }
    text
}
