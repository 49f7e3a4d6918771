//! Plugin recipients and identities, against a fake `age-plugin-fake` that counts its runs and its questions.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use age_core::format::{FileKey, Stanza};
use cofferdam::keys::wrap::{UnwrapError, wrap};
use cofferdam::keys::{
    Identity, IdentitySet, LabelledWrap, PluginHost, Prompt, PromptError, Recipient,
};
use cofferdam::keystore::{seal, unseal_many};
use secrecy::{ExposeSecret, SecretString};

const SECRET: &[u8] = b"thirty-two bytes of a data key..";
const RECIPIENT: &str = "age1fake1w358ymmhv9mkz7g8wkqde";

/// Asks once a session for a PIN and a touch if there is anything for it; "wraps" by writing the file key down.
const PLUGIN: &str = r#"#!/bin/sh
set -f
machine=$1
here=$(dirname "$0")
echo run >>"$here/runs"
read_body() {
    body=
    while IFS= read -r line; do
        body=$body$line
        [ ${#line} -lt 64 ] && return
    done
}
found=
while read -r arrow command rest; do
    [ "$arrow" = "->" ] || exit 1
    read_body
    set -- $rest
    case $command in
    done) break ;;
    recipient-stanza) [ "$2" = fake ] && found="$found $1:$body" ;;
    wrap-file-key) key=$body ;;
    esac
done
ask() {
    read -r arrow answer rest
    read_body
}
if [ "$machine" = --age-plugin=recipient-v1 ]; then
    printf -- '-> recipient-stanza 0 fake x\n%s\n' "$key"
    ask
    printf -- '-> done\n\n'
    exit 0
fi
if [ -n "$found" ]; then
    # "PIN?"
    printf -- '-> request-secret\nUElOPw\n'
    ask
    # "1234"
    if [ "$answer" != ok ] || [ "$body" != MTIzNA ]; then
        # "wrong PIN"
        printf -- '-> error internal\nd3JvbmcgUElO\n'
        ask
        printf -- '-> done\n\n'
        exit 0
    fi
    # "touch it"
    printf -- '-> msg\ndG91Y2ggaXQ\n'
    ask
    for entry in $found; do
        printf -- '-> file-key %s\n%s\n' "${entry%%:*}" "${entry#*:}"
        ask
    done
fi
printf -- '-> done\n\n'
"#;

struct Fake {
    folder: tempfile::TempDir,
    asked: Arc<Asked>,
}

#[derive(Default)]
struct Asked {
    secrets: AtomicUsize,
    messages: Mutex<Vec<String>>,
    pin: Mutex<Option<&'static str>>,
}

impl Prompt for Asked {
    fn message(&self, text: &str) {
        self.messages.lock().unwrap().push(text.to_owned());
    }

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Result<bool, PromptError> {
        Ok(true)
    }

    fn public(&self, _: &str) -> Result<String, PromptError> {
        Err(PromptError::Cancelled)
    }

    fn secret(&self, text: &str) -> Result<SecretString, PromptError> {
        assert_eq!(text, "PIN?");
        self.secrets.fetch_add(1, Ordering::SeqCst);
        let pin = self.pin.lock().unwrap().ok_or(PromptError::Cancelled)?;
        Ok(SecretString::from(pin))
    }
}

impl Fake {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("age-plugin-fake");
        std::fs::write(&program, PLUGIN).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let asked = Arc::new(Asked::default());
        *asked.pin.lock().unwrap() = Some("1234");
        Self { folder, asked }
    }

    fn set(&self) -> IdentitySet {
        let text = age::plugin::Identity::default_for_plugin("fake")
            .unwrap()
            .to_string();
        let identity = Identity::parse(&text).unwrap();
        assert_eq!(identity.plugin(), Some("fake"));
        let path = self.folder.path().as_os_str().to_owned();
        let host = PluginHost::new(Some(path), Arc::clone(&self.asked) as Arc<dyn Prompt>);
        IdentitySet::new(vec![identity]).with_host(Arc::new(host))
    }

    fn runs(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    fn questions(&self) -> usize {
        self.asked.secrets.load(Ordering::SeqCst)
    }
}

/// What the fake plugin writes, without running it.
struct FakeRecipient;

impl age::Recipient for FakeRecipient {
    fn wrap_file_key(
        &self,
        key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = Stanza {
            tag: "fake".to_owned(),
            args: vec!["x".to_owned()],
            body: key.expose_secret().to_vec(),
        };
        Ok((vec![stanza], HashSet::new()))
    }
}

fn wrapped() -> String {
    age::encrypt_and_armor(&FakeRecipient, SECRET).unwrap()
}

fn opened(outcome: Result<Option<cofferdam::secret::SecretBytes>, UnwrapError>) {
    assert_eq!(outcome.unwrap().unwrap().expose(), SECRET);
}

#[test]
fn many_documents_are_one_run_and_one_question() {
    let fake = Fake::new();
    let set = fake.set();
    let wraps: Vec<String> = (0..50).map(|_| wrapped()).collect();
    let texts: Vec<&str> = wraps.iter().map(String::as_str).collect();
    for outcome in set.unwrap_many(&texts) {
        opened(outcome);
    }
    assert_eq!((fake.runs(), fake.questions()), (1, 1));
    // What was opened once is known for the rest of the run, also from other threads and other handles.
    std::thread::scope(|scope| {
        for chunk in texts.chunks(10) {
            let set = set.share();
            scope.spawn(move || chunk.iter().for_each(|text| opened(set.unwrap(text))));
        }
    });
    assert_eq!((fake.runs(), fake.questions()), (1, 1));
    assert_eq!(*fake.asked.messages.lock().unwrap(), ["touch it"]);
}

#[test]
fn one_document_after_the_other_still_is_one_question() {
    let fake = Fake::new();
    let set = fake.set();
    for _ in 0..3 {
        opened(set.unwrap(&wrapped()));
    }
    assert_eq!((fake.runs(), fake.questions()), (3, 1));
}

#[test]
fn threads_that_come_at_once_ask_one_question() {
    let fake = Fake::new();
    let set = fake.set();
    let armored = wrapped();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| opened(set.unwrap(&armored)));
        }
    });
    assert_eq!((fake.runs(), fake.questions()), (1, 1));
}

#[test]
fn prefetch_makes_opening_ask_nothing_and_cheap_wraps_run_nothing() {
    let fake = Fake::new();
    let mut set = fake.set();
    let zone = Identity::mint();
    let to_zone = zone.recipient().unwrap();
    let to_fake = Recipient::parse(RECIPIENT).unwrap();
    let zone_wrap = wrap(SECRET, &to_zone).unwrap();
    let fakes: Vec<String> = (0..5).map(|_| wrapped()).collect();
    let documents: Vec<Vec<LabelledWrap<'_>>> = fakes
        .iter()
        .map(|text| {
            vec![
                (Some(&to_zone), zone_wrap.as_str()),
                (Some(&to_fake), text.as_str()),
            ]
        })
        .collect();
    set.prefetch(&documents);
    assert_eq!((fake.runs(), fake.questions()), (1, 1));
    for document in &documents {
        opened(set.unwrap_any(document));
    }
    assert_eq!((fake.runs(), fake.questions()), (1, 1));

    let fresh = Fake::new();
    set = fresh.set();
    set.push(zone);
    set.prefetch(&documents);
    for document in &documents {
        opened(set.unwrap_any(document));
    }
    assert_eq!((fresh.runs(), fresh.questions()), (0, 0));
}

#[test]
fn sealed_identities_of_all_zones_are_one_question() {
    let fake = Fake::new();
    let zones: Vec<Identity> = (0..4).map(|_| Identity::mint()).collect();
    let recovery = Identity::mint().recipient().unwrap();
    let sealed: Vec<[Vec<u8>; 2]> = zones
        .iter()
        .map(|zone| {
            let text = format!("{}\n", zone.to_text().expose_secret());
            let to_fake = age::encrypt_and_armor(&FakeRecipient, text.as_bytes()).unwrap();
            [seal(zone, &recovery).unwrap(), to_fake.into_bytes()]
        })
        .collect();
    let files: Vec<Vec<&[u8]>> = sealed
        .iter()
        .map(|files| files.iter().map(Vec::as_slice).collect())
        .collect();
    let unsealed = unseal_many(&files, &fake.set());
    for (zone, found) in zones.iter().zip(unsealed) {
        assert_eq!(found.unwrap().unwrap().recipient(), zone.recipient());
    }
    assert_eq!((fake.runs(), fake.questions()), (1, 1));
}

#[test]
fn a_wrong_pin_is_not_given_twice() {
    let fake = Fake::new();
    let set = fake.set();
    *fake.asked.pin.lock().unwrap() = Some("0000");
    let armored = wrapped();
    let error = set.unwrap(&armored).unwrap_err();
    assert_eq!(
        error.to_string(),
        "opening with age-plugin-fake failed: wrong PIN"
    );
    *fake.asked.pin.lock().unwrap() = Some("1234");
    opened(set.unwrap(&armored));
    assert_eq!(fake.questions(), 2);
}

#[test]
fn a_question_without_an_answer_is_told() {
    let fake = Fake::new();
    *fake.asked.pin.lock().unwrap() = None;
    let error = fake.set().unwrap(&wrapped()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("age-plugin-fake failed: cancelled"),
        "{error}"
    );
}

#[test]
fn what_is_not_for_the_plugin_is_asked_of_it_once() {
    let fake = Fake::new();
    let set = fake.set();
    let armored = wrap(SECRET, &Identity::mint().recipient().unwrap()).unwrap();
    assert!(set.unwrap(&armored).unwrap().is_none());
    assert!(set.unwrap(&armored).unwrap().is_none());
    assert_eq!((fake.runs(), fake.questions()), (1, 0));
}

#[test]
fn a_missing_or_dying_plugin_is_named() {
    let fake = Fake::new();
    let program = fake.folder.path().join("age-plugin-fake");
    std::fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    let error = fake.set().unwrap(&wrapped()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("opening with age-plugin-fake failed: "),
        "{error}"
    );
    std::fs::remove_file(&program).unwrap();
    let error = fake.set().unwrap(&wrapped()).unwrap_err();
    assert!(
        error.to_string().contains("age-plugin-fake is not on PATH"),
        "{error}"
    );

    let missing = Recipient::parse("age1missing1w358ymmhv9mkz7gg7he0y").unwrap();
    let error = wrap(SECRET, &missing).unwrap_err().to_string();
    assert!(error.contains("age-plugin-missing"), "{error}");
    assert!(!error.contains('\u{2068}'), "{error}");
}

/// The age library finds plugins to wrap with on the process's `PATH`, which a test may not change: a child does it.
#[test]
fn wraps_to_a_plugins_recipient() {
    const CHILD: &str = "COFFERDAM_TEST_WRAPS";
    if std::env::var_os(CHILD).is_some() {
        let armored = wrap(SECRET, &Recipient::parse(RECIPIENT).unwrap()).unwrap();
        let folder = std::env::var("PATH").unwrap();
        let folder = folder.split(':').next().unwrap();
        std::fs::write(Path::new(folder).join("wrap"), armored).unwrap();
        return;
    }
    let fake = Fake::new();
    let path = format!(
        "{}:{}",
        fake.folder.path().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let test = module_path!().replacen("engine::", "", 1) + "::wraps_to_a_plugins_recipient";
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test])
        .env("PATH", path)
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let armored = std::fs::read_to_string(fake.folder.path().join("wrap")).unwrap();
    opened(fake.set().unwrap(&armored));
}
