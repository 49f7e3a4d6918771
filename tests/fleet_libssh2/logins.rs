//! Logins by the library: host keys, agents and passwords.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cofferdam::fleet::{SshHost, SshProgram, Target};
use cofferdam::keys::{Prompt, PromptError};
use cofferdam::topology::{Host, HostTarget, Transport};

use crate::support::bench::told;
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{Sandbox, have_peers};

/// Two hosts; nothing is on them.
fn fleet(sandbox: &Sandbox, manners: &Manners) -> Fleet {
    let mut fleet = Fleet::new(sandbox.path());
    fleet.add("one", manners);
    fleet.add("two", &Manners::default());
    fleet
}

fn targets(fleet: &Fleet, prompt: Option<Arc<Answers>>, more: &[&str]) -> Vec<SshHost> {
    let mut words = fleet.words();
    words.extend(more.iter().map(|&word| word.to_owned()));
    let mut program = SshProgram::new(words);
    if let Some(prompt) = prompt {
        program = program.with_prompt(prompt);
    }
    let program = Arc::new(program);
    let target = |name: &str| {
        let host = Host {
            adopt: None,
            name: name.to_owned(),
            zone: "lan".to_owned(),
            target: HostTarget::Ssh(name.to_owned()),
            identity_file: "/nowhere/cofferdam/keys.txt".to_owned(),
            transport: Some(Transport::Libssh2),
            clones: Vec::new(),
            after_ship: Vec::new(),
            reader: None,
            cofferdam: None,
        };
        SshHost::of(&host, &program).unwrap()
    };
    vec![target("one"), target("two")]
}

/// Gives one answer after the other, and counts the questions.
struct Answers {
    texts: Vec<&'static str>,
    asked: AtomicUsize,
}

impl Answers {
    fn of(texts: &[&'static str]) -> Arc<Self> {
        Arc::new(Self {
            texts: texts.to_vec(),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Prompt for Answers {
    fn message(&self, _text: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Result<bool, PromptError> {
        Err(PromptError::Cancelled)
    }

    fn public(&self, _text: &str) -> Result<String, PromptError> {
        Err(PromptError::Cancelled)
    }

    fn secret(&self, text: &str) -> Result<secrecy::SecretString, PromptError> {
        assert!(text.contains("client"), "{text}");
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.texts.get(number).ok_or(PromptError::Cancelled)?;
        Ok(secrecy::SecretString::from(*answer))
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn edit(file: &Path, change: impl Fn(&str) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, change(&text)).unwrap();
}

#[test]
fn an_encrypted_key_is_asked_for_once_a_run() {
    if !have_sshd() {
        return;
    }
    let sandbox = Sandbox::new();
    let fleet = fleet(&sandbox, &Manners::default());
    let key = fleet.host("client");
    run(Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "correct horse", "-f"])
        .arg(&key));
    let prompt = Answers::of(&["wrong", "correct horse"]);
    let hosts = targets(&fleet, Some(Arc::clone(&prompt)), &[]);
    std::thread::scope(|scope| {
        for host in &hosts {
            scope.spawn(|| host.read().unwrap());
        }
    });
    assert_eq!(prompt.asked.load(Ordering::SeqCst), 2);

    for (prompt, asked) in [(None, 0), (Some(Answers::of(&[])), 1)] {
        let hosts = targets(&fleet, prompt.clone(), &[]);
        for host in &hosts {
            let error = told(&host.read().unwrap_err());
            assert!(error.contains("nobody gave its passphrase"), "{error}");
            assert!(!error.contains("horse"), "{error}");
        }
        let count = prompt.map_or(0, |prompt| prompt.asked.load(Ordering::SeqCst));
        assert_eq!(count, asked);
    }
}

/// An agent of our own, which ends with the value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_agent_opens_the_login() {
    if !have_sshd() || !have_peers(&["ssh-agent", "ssh-add"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let fleet = fleet(&sandbox, &Manners::default());
    let socket = sandbox.path().join("agent");
    let agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let _agent = Agent(agent);
    for _ in 0..500 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let add = |key: &str| {
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(fleet.host(key))
            .env("SSH_AUTH_SOCK", &socket));
    };
    // The key file is not there any more; its public half says which of the agent's keys it was.
    let key = fleet.host("client");
    let away = sandbox.path().join("away");
    let option = format!("IdentityAgent={}", socket.display());
    std::fs::rename(&key, &away).unwrap();
    add("other");
    let error = told(
        &targets(&fleet, None, &["-o", &option])[0]
            .read()
            .unwrap_err(),
    );
    assert!(error.contains("the agent's keys"), "{error}");
    std::fs::rename(&away, &key).unwrap();
    add("client");
    std::fs::rename(&key, &away).unwrap();
    for host in targets(&fleet, None, &["-o", &option]) {
        host.read().unwrap();
    }
    let error = told(&targets(&fleet, None, &[])[0].read().unwrap_err());
    assert!(error.contains("the login was refused"), "{error}");
    // One that others can read is not used.
    std::fs::rename(&away, &key).unwrap();
    run(Command::new("chmod").arg("0644").arg(&key));
    let error = told(&targets(&fleet, None, &[])[0].read().unwrap_err());
    assert!(error.contains("open to others, mode 0644"), "{error}");
}

#[test]
fn hashed_revoked_and_certified_host_keys() {
    if !have_sshd() {
        return;
    }
    let sandbox = Sandbox::new();
    let fleet = fleet(&sandbox, &Manners::default());
    let list = fleet.host("known_hosts");
    let whole = std::fs::read_to_string(&list).unwrap();
    let problem = || told(&targets(&fleet, None, &[])[0].read().unwrap_err());
    run(Command::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(&list));
    assert!(std::fs::read_to_string(&list).unwrap().starts_with("|1|"));
    targets(&fleet, None, &[])[0].read().unwrap();
    let revoked: String = whole
        .lines()
        .map(|line| format!("@revoked {line}\n"))
        .collect();
    std::fs::write(&list, format!("{whole}{revoked}")).unwrap();
    assert!(problem().contains("marked as revoked"), "{}", problem());
    std::fs::write(&list, revoked.replace("@revoked", "@cert-authority")).unwrap();
    assert!(problem().contains("@cert-authority"), "{}", problem());
    // The line that is shown is the one that helps.
    std::fs::write(&list, "").unwrap();
    let text = problem();
    let (_, line) = text.split_once("then: ").unwrap();
    run(Command::new("sh").args(["-c", line]));
    targets(&fleet, None, &[])[0].read().unwrap();
    assert!(fleet.argv().is_empty(), "the program was run");
}

#[test]
fn a_host_on_the_way_is_checked_as_strictly() {
    if !have_sshd() {
        return;
    }
    let sandbox = Sandbox::new();
    let behind = Manners {
        jump: Some("two".to_owned()),
        ..Manners::default()
    };
    let fleet = fleet(&sandbox, &behind);
    let one = || targets(&fleet, None, &[]).swap_remove(0);
    one().read().unwrap();
    let log = std::fs::read_to_string(fleet.host("two").join("log")).unwrap();
    assert!(log.contains("Accepted publickey"), "{log}");
    // Its line is the second.
    let list = fleet.host("known_hosts");
    let whole = std::fs::read_to_string(&list).unwrap();
    edit(&list, |text| text.lines().next().unwrap().to_owned() + "\n");
    let error = told(&one().read().unwrap_err());
    assert!(error.contains("host key is not known"), "{error}");
    let second = whole.lines().nth(1).unwrap();
    assert!(error.contains(second.split(' ').next().unwrap()), "{error}");
    std::fs::write(&list, &whole).unwrap();
    edit(&fleet.host("config"), |text| {
        text.replace("ProxyJump two", "ProxyCommand nc %h %p")
    });
    let error = told(&one().read().unwrap_err());
    assert!(
        error.contains("cannot follow ProxyCommand") && error.contains("config line "),
        "{error}"
    );
    edit(&fleet.host("config"), |text| {
        text.replace("ProxyCommand nc %h %p", "ProxyJump one")
    });
    let error = told(&one().read().unwrap_err());
    assert!(error.contains("over so many hosts"), "{error}");
}

#[test]
fn a_connection_that_broke_off_is_made_anew() {
    if !have_sshd() || !have_peers(&["pkill"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let fleet = fleet(&sandbox, &Manners::default());
    let hosts = targets(&fleet, None, &[]);
    hosts[0].read().unwrap();
    let pid = std::fs::read_to_string(fleet.host("one").join("pid")).unwrap();
    // The server's children are its connections.
    run(Command::new("pkill").args(["-KILL", "-P", pid.trim()]));
    hosts[0].read().unwrap();
    let log = std::fs::read_to_string(fleet.host("one").join("log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 2, "{log}");
}
