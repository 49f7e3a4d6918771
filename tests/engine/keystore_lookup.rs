//! Where identities are looked for: sops's places, all of them, in a home of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cofferdam::keys::wrap::{UnwrapError, wrap};
use cofferdam::keys::{Identity, KeyFile, Prompt, PromptError, Recipient};
use cofferdam::keystore::permissions::PermissionProblem;
use cofferdam::keystore::{Lookup, Outcome, Surroundings, look_up};
use secrecy::{ExposeSecret, SecretString};

const SECRET: &[u8] = b"thirty-two bytes of a data key..";
const ALICE: &str = "age1y9w8ltdtzmjusvk9h43kevq8nxspu48xttzha80v6lsgkmse6c5qnr0rss";

struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        let variables = vec![
            ("HOME".to_owned(), home),
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ];
        Self { folder, variables }
    }

    fn set(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        let value = value.as_ref().to_str().unwrap().to_owned();
        self.variables.push((name.to_owned(), value));
        self
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings::of(self.variables.iter().cloned())
    }

    fn look_up(&self) -> Lookup {
        look_up(&self.surroundings())
    }

    fn lines_of(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn throwaway(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/throwaway_keys");
    std::fs::read(folder.join(name)).unwrap()
}

fn minted() -> (String, Recipient) {
    let identity = Identity::mint();
    let text = format!("{}\n", identity.to_text().expose_secret());
    (text, identity.recipient().unwrap())
}

fn to(recipient: &Recipient) -> String {
    wrap(SECRET, recipient).unwrap()
}

fn opens(lookup: &Lookup, recipient: &Recipient) -> bool {
    match lookup.identities.unwrap_for(recipient, &to(recipient)) {
        Ok(Some(secret)) => secret.expose() == SECRET,
        Ok(None) => false,
        Err(error) => panic!("{error}"),
    }
}

fn failure(lookup: &Lookup) -> String {
    let failures = lookup.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    format!("{}: {}", failures[0].0, failures[0].1)
}

/// Answers from a list, in order, and counts.
struct Answers(Vec<&'static str>, AtomicUsize);

impl Answers {
    fn of(answers: &[&'static str]) -> Arc<Self> {
        Arc::new(Self(answers.to_vec(), AtomicUsize::new(0)))
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

impl Prompt for Answers {
    fn message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Result<bool, PromptError> {
        Err(PromptError::Cancelled)
    }

    fn public(&self, _: &str) -> Result<String, PromptError> {
        Err(PromptError::Cancelled)
    }

    fn secret(&self, _: &str) -> Result<SecretString, PromptError> {
        let at = self.1.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.get(at).ok_or(PromptError::Cancelled)?;
        Ok(SecretString::from(*answer))
    }
}

#[test]
fn nothing_anywhere_is_no_error() {
    let lookup = Home::new().look_up();
    assert!(lookup.identities.is_empty());
    assert!(lookup.failures().is_empty());
    assert!(lookup.sources.iter().all(|s| s.outcome == Outcome::Absent));
    assert!(
        lookup
            .sources
            .iter()
            .any(|s| s.name.ends_with("/.config/sops/age/keys.txt"))
    );
    let nowhere = look_up(&Surroundings::of(Vec::<(String, String)>::new()));
    assert!(nowhere.identities.is_empty());
}

#[test]
fn all_sources_count_not_the_first() {
    let keys: Vec<(String, Recipient)> = (0..4).map(|_| minted()).collect();
    let home = Home::new();
    let file = home.file("mine.txt", &keys[1].0);
    let other = home.file("command.txt", &keys[2].0);
    home.file(
        ".config/sops/age/keys.txt",
        format!("# mine\r\n\r\n{}", keys[3].0),
    );
    home.file(".ssh/id_ed25519", throwaway("dave"));
    home.file(".ssh/id_rsa", throwaway("erin"));
    let home = home
        .set("SOPS_AGE_KEY", keys[0].0.trim())
        .set("SOPS_AGE_KEY_FILE", file)
        .set("SOPS_AGE_KEY_CMD", format!("cat '{}'", other.display()));
    let lookup = home.look_up();
    for (_, recipient) in &keys {
        assert!(opens(&lookup, recipient));
        assert!(lookup.identities.holds(recipient));
    }
    for name in ["dave.pub", "erin.pub"] {
        let recipient = Recipient::parse(&String::from_utf8(throwaway(name)).unwrap()).unwrap();
        assert!(opens(&lookup, &recipient));
        assert!(lookup.identities.holds(&recipient));
        let only = lookup.identities.only(&recipient).unwrap();
        assert_eq!(only.recipients(), [recipient]);
    }
    assert_eq!(lookup.identities.recipients().len(), 6);
    assert!(!opens(&lookup, &minted().1));
    assert!(lookup.failures().is_empty(), "{:?}", lookup.failures());
    assert!(lookup.warnings.is_empty());
}

#[test]
fn xdg_config_home_moves_the_default_key_file() {
    let (text, recipient) = minted();
    let home = Home::new();
    home.file("xdg/sops/age/keys.txt", &text);
    home.file(".config/sops/age/keys.txt", "hunter2\n");
    let folder = home.folder.path().join("xdg");
    let home = home.set("XDG_CONFIG_HOME", folder);
    let lookup = home.look_up();
    assert!(opens(&lookup, &recipient));
    assert!(lookup.failures().is_empty());
    let lookup = Home::new().set("XDG_CONFIG_HOME", "relative").look_up();
    assert!(failure(&lookup).contains("relative"));
}

#[test]
fn a_broken_source_is_told_by_line_and_keeps_none_of_the_others_away() {
    let (good, recipient) = minted();
    let home = Home::new();
    let bad = home.file("bad.txt", format!("# x\n {good}"));
    let home = home
        .set("SOPS_AGE_KEY", &good)
        .set("SOPS_AGE_KEY_FILE", bad);
    let lookup = home.look_up();
    assert!(opens(&lookup, &recipient));
    let told = failure(&lookup);
    assert!(
        told.contains("bad.txt") && told.contains("line 2"),
        "{told}"
    );
    assert!(!format!("{told} {lookup:?}").contains("SECRET-KEY-1"));

    for (content, reason) in [
        (throwaway("dave"), "an SSH private key"),
        (b"# nothing\n".to_vec(), "no identity in it"),
        (b"AGE-SECRET-KEY-PQ-1QQQ\n".to_vec(), "not supported yet"),
        (vec![b'#'; (1 << 20) + 1], "larger than any key file"),
    ] {
        let home = Home::new();
        let file = home.file("keys.txt", content);
        let lookup = home.set("SOPS_AGE_KEY_FILE", file).look_up();
        assert!(failure(&lookup).contains(reason), "{}", failure(&lookup));
    }
    let lookup = Home::new()
        .set("SOPS_AGE_KEY_FILE", "/nowhere/keys.txt")
        .look_up();
    assert!(failure(&lookup).contains("/nowhere/keys.txt"));
    let lookup = Home::new().set("SOPS_AGE_KEY_FILE", "/dev/zero").look_up();
    assert!(failure(&lookup).contains("larger than any key file"));
    let lookup = Home::new().set("SOPS_AGE_KEY", "").look_up();
    assert!(failure(&lookup).contains("no identity"));
}

#[test]
fn one_variable_may_hold_several_on_a_line() {
    let (a, b) = (minted(), minted());
    let value = format!("# both\n{} {}", a.0.trim(), b.0);
    let lookup = Home::new().set("SOPS_AGE_KEY", value).look_up();
    assert!(opens(&lookup, &a.1) && opens(&lookup, &b.1));
}

#[test]
fn a_key_command_runs_when_wanted_and_once() {
    let (text, recipient) = minted();
    let home = Home::new();
    let key = home.file("key.txt", text);
    let script = home.file(
        "command",
        format!(
            "#!/bin/sh\necho \"$1:$SOPS_AGE_RECIPIENT\" >>\"$HOME/runs\"\ncat '{}'\n",
            key.display()
        ),
    );
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let home = home.set("SOPS_AGE_KEY_CMD", format!("{} 'a b'", script.display()));
    let lookup = home.look_up();
    assert!(home.lines_of("runs").is_empty());
    assert!(opens(&lookup, &recipient));
    assert!(opens(&lookup, &recipient));
    assert_eq!(home.lines_of("runs"), [format!("a b:{recipient}")]);
    // For another recipient it may answer otherwise; it does not, and is asked no more.
    for _ in 0..3 {
        assert!(!opens(&lookup, &minted().1));
    }
    assert_eq!(home.lines_of("runs").len(), 2);
}

#[test]
fn a_key_command_may_answer_by_recipient() {
    let (a, b) = (minted(), minted());
    let home = Home::new();
    home.file(&a.1.to_string(), &a.0);
    home.file(&b.1.to_string(), &b.0);
    let home = home.set(
        "SOPS_AGE_KEY_CMD",
        "sh -c 'cat \"$HOME/$SOPS_AGE_RECIPIENT\" 2>/dev/null'",
    );
    let lookup = home.look_up();
    assert!(opens(&lookup, &a.1) && opens(&lookup, &b.1));
    assert!(lookup.identities.holds(&a.1) && lookup.identities.holds(&b.1));
    assert!(!opens(&lookup, &minted().1));
    assert!(failure(&lookup).contains("the command failed"));
}

#[test]
fn a_broken_key_command_is_told_without_its_text() {
    for (command, reason) in [
        ("echo 'hunter2", "left open"),
        ("", "empty"),
        ("/nowhere/hunter2", "cannot be run"),
        ("sh -c 'echo hunter2; exit 3'", "exit status: 3"),
        ("echo hunter2", "line 1"),
    ] {
        let lookup = Home::new().set("SOPS_AGE_KEY_CMD", command).look_up();
        assert!(!opens(&lookup, &minted().1));
        let told = failure(&lookup);
        assert!(told.contains(reason) && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn ssh_keys_from_a_variable_and_a_command() {
    let home = Home::new();
    let dave = home.file("dave", throwaway("dave"));
    let erin = home.file("erin", throwaway("erin"));
    let home = home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", dave).set(
        "SOPS_AGE_SSH_PRIVATE_KEY_CMD",
        format!("cat {}", erin.display()),
    );
    let lookup = home.look_up();
    for name in ["dave.pub", "erin.pub"] {
        let recipient = Recipient::parse(&String::from_utf8(throwaway(name)).unwrap()).unwrap();
        assert!(opens(&lookup, &recipient), "{name}");
    }
    let home = Home::new();
    let heidi = home.file("heidi", throwaway("heidi"));
    let home = home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", heidi);
    let lookup = home.look_up();
    let dave = Recipient::parse(&String::from_utf8(throwaway("dave.pub")).unwrap()).unwrap();
    assert!(!opens(&lookup, &dave));
    assert!(
        failure(&lookup).contains("only ssh-ed25519 and ssh-rsa"),
        "{}",
        failure(&lookup)
    );
}

#[test]
fn an_ssh_keys_passphrase_is_asked_once_and_only_for_its_own_wraps() {
    let home = Home::new();
    home.file(".ssh/id_ed25519", throwaway("frank"));
    let answers = Answers::of(&["wrong", "correct horse"]);
    let surroundings = home
        .surroundings()
        .with_prompt(Arc::clone(&answers) as Arc<dyn Prompt>);
    let lookup = look_up(&surroundings);
    let read = |name: &str| Recipient::parse(&String::from_utf8(throwaway(name)).unwrap()).unwrap();
    assert!(!opens(&lookup, &minted().1));
    assert!(!opens(&lookup, &read("dave.pub")));
    // It is known to be here, for its file says so in the clear.
    assert!(lookup.identities.holds(&read("frank.pub")));
    assert_eq!(answers.asked(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(opens(&lookup, &read("frank.pub"))));
        }
    });
    assert_eq!(answers.asked(), 2);
}

#[test]
fn a_key_file_under_a_passphrase_is_asked_for_last_and_once() {
    let (text, recipient) = minted();
    let alice = Recipient::parse(ALICE).unwrap();
    let home = Home::new();
    home.file(".config/sops/age/keys.txt", throwaway("alice-locked.age"));
    let home = home.set("SOPS_AGE_KEY", text);
    let answers = Answers::of(&["correct horse"]);
    let surroundings = home
        .surroundings()
        .with_prompt(Arc::clone(&answers) as Arc<dyn Prompt>);
    let lookup = look_up(&surroundings);
    assert!(opens(&lookup, &recipient));
    assert!(!lookup.identities.holds(&alice));
    assert_eq!(answers.asked(), 0);
    assert!(opens(&lookup, &alice));
    assert!(opens(&lookup, &alice));
    assert!(lookup.identities.holds(&alice));
    assert_eq!(answers.asked(), 1);

    let lookup = home.look_up();
    let error = lookup.identities.unwrap(&to(&alice)).unwrap_err();
    assert!(matches!(&error, UnwrapError::Failed { .. }));
    assert!(error.to_string().contains("no terminal"), "{error}");
    assert!(failure(&lookup).contains("no terminal"));
    assert!(opens(&lookup, &recipient));
}

#[test]
fn a_passphrase_may_be_mistyped_but_not_for_ever() {
    let recipient = age::scrypt::Recipient::new(SecretString::from("correct horse"));
    let mut recipient = recipient;
    recipient.set_work_factor(2);
    let (text, own) = minted();
    let locked = age::encrypt(&recipient, text.as_bytes()).unwrap();
    for (typed, good) in [
        (&["a", "b", "correct horse"][..], true),
        (&["a", "b", "c", "correct horse"][..], false),
    ] {
        let home = Home::new();
        let file = home.file("binary.age", &locked);
        let home = home.set("SOPS_AGE_KEY_FILE", file);
        let answers = Answers::of(typed);
        let surroundings = home
            .surroundings()
            .with_prompt(Arc::clone(&answers) as Arc<dyn Prompt>);
        let lookup = look_up(&surroundings);
        match lookup.identities.unwrap(&to(&own)) {
            Ok(Some(_)) => assert!(good),
            Err(error) => assert!(
                !good && error.to_string().contains("wrong passphrase"),
                "{error}"
            ),
            Ok(None) => panic!("not tried"),
        }
        // Not asked again for the next document.
        let _ = lookup.identities.unwrap(&to(&own));
        assert_eq!(answers.asked(), 3);
    }
}

#[test]
fn an_encrypted_key_file_that_no_passphrase_opens_is_told() {
    let (_, recipient) = minted();
    for (content, reason) in [
        (wrap(b"x", &recipient).unwrap(), "not with a passphrase"),
        ("age-encryption.org/v1\n-> scrypt".to_owned(), "damaged"),
    ] {
        let home = Home::new();
        let file = home.file("keys.age", content);
        let home = home.set("SOPS_AGE_KEY_FILE", file);
        let answers = Answers::of(&["x", "x", "x"]);
        let surroundings = home
            .surroundings()
            .with_prompt(Arc::clone(&answers) as Arc<dyn Prompt>);
        let error = look_up(&surroundings)
            .identities
            .unwrap(&to(&recipient))
            .unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_key_file_that_others_can_read_is_a_warning() {
    let (text, recipient) = minted();
    let home = Home::new();
    let file = home.file("keys.txt", text);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let home = home.set("SOPS_AGE_KEY_FILE", &file);
    let lookup = home.look_up();
    assert!(opens(&lookup, &recipient));
    let path = file.canonicalize().unwrap();
    assert_eq!(
        lookup.warnings,
        [PermissionProblem::LooseFile { path, mode: 0o644 }]
    );
}

#[test]
fn a_whole_key_file_of_age_keygen_is_read() {
    let home = Home::new();
    let file = home.file("alice.txt", throwaway("alice.txt"));
    let lookup = home.set("SOPS_AGE_KEY_FILE", file).look_up();
    assert_eq!(lookup.identities.recipients()[0].as_str(), ALICE);
    assert!(KeyFile::parse(&throwaway("alice.txt")).is_ok());
}
