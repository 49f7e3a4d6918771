//! Wraps that real `age` reads, and files of real `age` that we read; keys by real `age-keygen` and `ssh-keygen`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cofferdam::keys::wrap::wrap;
use cofferdam::keys::{Identity, IdentityError, IdentitySet, KeyFile, Recipient, SshKey};
use secrecy::{ExposeSecret, SecretString};

const SECRET: &[u8] = b"thirty-two bytes of a data key..";

fn key(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/throwaway_keys")
        .join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(key(name)).unwrap()
}

/// Whether `program` is there; where it has to be, fails.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    assert!(
        found || std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none_or(|v| v != "1"),
        "{program} is required and missing"
    );
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

fn pipe(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn age_opens(armored: &str, identity_file: &Path) {
    let args = ["-d", "-i", identity_file.to_str().unwrap()];
    assert_eq!(pipe("age", &args, armored.as_bytes()), SECRET);
}

fn we_open(recipient: &str, set: &IdentitySet) {
    let armored = pipe("age", &["-a", "-r", recipient], SECRET);
    let armored = String::from_utf8(armored).unwrap();
    let opened = set.unwrap(&armored).unwrap().unwrap();
    assert_eq!(opened.expose(), SECRET);
}

#[test]
fn x25519_both_ways_with_keys_of_age_keygen_and_ours() {
    if !has("age") || !has("age-keygen") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs.txt");
    pipe("age-keygen", &["-o", theirs.to_str().unwrap()], b"");
    let file = KeyFile::parse(&std::fs::read(&theirs).unwrap()).unwrap();
    let recipient = file.recipients().pop().unwrap();
    age_opens(&wrap(SECRET, &recipient).unwrap(), &theirs);
    we_open(recipient.as_str(), &IdentitySet::new(file.identities()));

    let ours = Identity::mint();
    let both = file.with_identity(&["created: 2026-11-23T20:00:00Z"], &ours);
    let path = folder.path().join("both.txt");
    std::fs::write(&path, both.expose()).unwrap();
    let recipient = ours.recipient().unwrap();
    let listed = pipe("age-keygen", &["-y", path.to_str().unwrap()], b"");
    assert!(
        String::from_utf8(listed)
            .unwrap()
            .ends_with(&format!("\n{recipient}\n"))
    );
    age_opens(&wrap(SECRET, &recipient).unwrap(), &path);
    we_open(recipient.as_str(), &IdentitySet::new(vec![ours]));
}

#[test]
fn ssh_keys_both_ways() {
    if !has("age") {
        return;
    }
    for name in ["dave", "erin"] {
        let recipient = Recipient::parse(&text(&format!("{name}.pub"))).unwrap();
        assert!(recipient.as_str().ends_with(&format!("{name}@interop")));
        let identity = Identity::parse(&text(name)).unwrap();
        assert_eq!(identity.recipient().unwrap(), recipient);
        age_opens(&wrap(SECRET, &recipient).unwrap(), &key(name));
        we_open(recipient.as_str(), &IdentitySet::new(vec![identity]));
    }
}

#[test]
fn ssh_keys_under_a_passphrase() {
    for name in ["frank", "grace"] {
        assert_eq!(
            Identity::parse(&text(name)).unwrap_err(),
            IdentityError::SshEncrypted
        );
        let SshKey::Locked(locked) = SshKey::parse(&text(name)).unwrap() else {
            panic!("{name} needs no passphrase");
        };
        let recipient = Recipient::parse(&text(&format!("{name}.pub"))).unwrap();
        assert_eq!(locked.recipient(), &recipient);
        let wrong = locked.unlock(&SecretString::from("wrong")).unwrap_err();
        assert_eq!(wrong, IdentityError::WrongPassphrase);
        let identity = locked.unlock(&SecretString::from("correct horse")).unwrap();
        assert_eq!(identity.recipient().unwrap(), recipient);
        let set = IdentitySet::new(vec![identity]);
        let ours = wrap(SECRET, &recipient).unwrap();
        assert_eq!(set.unwrap(&ours).unwrap().unwrap().expose(), SECRET);
        if has("age") {
            we_open(recipient.as_str(), &set);
        }
    }
}

#[test]
fn an_ecdsa_key_is_refused_by_name() {
    let error = Recipient::parse(&text("heidi.pub")).unwrap_err();
    assert!(
        error.to_string().contains("only ssh-ed25519 and ssh-rsa"),
        "{error}"
    );
    assert_eq!(
        SshKey::parse(&text("heidi")).unwrap_err(),
        IdentityError::SshUnsupported
    );
}

#[test]
fn what_we_seal_age_opens() {
    if !has("age") {
        return;
    }
    let alice = KeyFile::parse(text("alice.txt").as_bytes()).unwrap();
    let zone = Identity::mint();
    let sealed = cofferdam::keystore::seal(&zone, &alice.recipients()[0]).unwrap();
    let args = ["-d", "-i", key("alice.txt").to_str().unwrap()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let opened = pipe("age", &args, &sealed);
    let opened = KeyFile::parse(&opened).unwrap();
    assert!(opened.holds(&zone.recipient().unwrap()));
    let set = IdentitySet::new(alice.identities());
    let unsealed = cofferdam::keystore::unseal(&[&sealed], &set)
        .unwrap()
        .unwrap();
    assert_eq!(
        unsealed.to_text().expose_secret(),
        zone.to_text().expose_secret()
    );

    for name in ["dave", "erin"] {
        let ssh = Identity::parse(&text(name)).unwrap();
        let sealed = cofferdam::keystore::seal(&ssh, &alice.recipients()[0]).unwrap();
        let unsealed = cofferdam::keystore::unseal(&[&sealed], &set)
            .unwrap()
            .unwrap();
        assert_eq!(unsealed.recipient(), ssh.recipient());
    }
    let SshKey::Locked(locked) = SshKey::parse(&text("frank")).unwrap() else {
        panic!("frank needs no passphrase");
    };
    let frank = locked.unlock(&SecretString::from("correct horse")).unwrap();
    assert!(cofferdam::keystore::seal(&frank, &alice.recipients()[0]).is_err());
}

#[test]
fn debug_prints_no_secret_of_any_kind() {
    let alice = KeyFile::parse(text("alice.txt").as_bytes()).unwrap();
    let dave = Identity::parse(&text("dave")).unwrap();
    let plugin = age::plugin::Identity::default_for_plugin("fake")
        .unwrap()
        .to_string();
    let plugin = Identity::parse(&plugin).unwrap();
    let frank = SshKey::parse(&text("frank")).unwrap();
    let dave_open = SshKey::parse(&text("dave")).unwrap();
    let surroundings = cofferdam::keystore::Surroundings::of([
        ("SOPS_AGE_KEY", alice.text().expose().clone()),
        ("HOME", "/nowhere".to_owned()),
    ]);
    let lookup = cofferdam::keystore::look_up(&surroundings);
    let mut set = IdentitySet::new(vec![dave.share(), plugin.share()]);
    set.extend(IdentitySet::new(alice.identities()));
    let seen = format!(
        "{alice:?} {dave:?} {plugin:?} {frank:?} {dave_open:?} {surroundings:?} {lookup:?} {set:?} {:?} {:?}",
        dave.to_text(),
        cofferdam::keys::DataKey::generate(),
    );
    assert!(!seen.contains("SECRET-KEY-1"), "{seen}");
    assert!(!seen.contains("AGE-PLUGIN"), "{seen}");
    assert!(!seen.contains("PRIVATE KEY"), "{seen}");
    let body = text("dave").lines().nth(2).unwrap().to_owned();
    assert!(!seen.contains(&body), "{seen}");
    assert!(seen.contains("age1y9w8…rss"), "{seen}");
}
