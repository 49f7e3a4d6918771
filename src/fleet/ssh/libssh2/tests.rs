//! The user's configuration and lists of known hosts, against what OpenSSH makes of them.

#![expect(
    clippy::disallowed_methods,
    reason = "a test asks the ssh program itself"
)]

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};

use super::client_config::{Collector, NotFollowed, Settings, hop};
use super::files;
use super::known_hosts::{Verdict, fits, judge, kinds, line_for};

const CONFIG: &str = r#"
# First come, first served
Host a b !c
  HostName=%h.example.com
  Port 2222
Host "quoted name" *.lan
  User "bob smith"
  IdentityFile ~/.ssh/one
  IdentityFile "/odd place/two" # a comment
Include INCLUDED
Host jump*
  ProxyJump first@x:2200,y
Match host a.example.com
  HostKeyAlias matched
Match !originalhost a host *.LAN
  HostKeyAlias lan
Host none
  ProxyJump none
  ProxyCommand nc %h %p
Host command
  ProxyCommand none
Match all
  UserKnownHostsFile /k/one /k/two
  GlobalKnownHostsFile /dev/null
  ProxyJump late
  Port 99
Host *
  User root
  IdentitiesOnly yes
"#;
const INCLUDED: &str = "User early\nHost b\n HostName included\n";
const ALIASES: [&str; 10] = [
    "a", "b", "c", "x.lan", "X.LAN", "jump1", "none", "command", "me@a", "other",
];

fn of_text(text: &str, address: &str) -> Result<Settings, NotFollowed> {
    let mut collector = Collector::new(address);
    collector.file("config", text, &|_| Ok(Vec::new()))?;
    collector.finish()
}

/// Whether OpenSSH's programs are there.
fn have(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(found || !required, "not on PATH: {program}");
    if !found {
        println!("skipped: not on PATH: {program}");
    }
    found
}

#[test]
fn settings_are_those_that_ssh_tells() {
    if !have("ssh") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (config, included) = (folder.path().join("config"), folder.path().join("i.conf"));
    std::fs::write(&included, INCLUDED).unwrap();
    let pattern = folder.path().join("*.conf");
    let text = CONFIG.replace("INCLUDED", pattern.to_str().unwrap());
    std::fs::write(&config, text).unwrap();
    for alias in ALIASES {
        for more in [&[][..], &["-o", "Port=7", "-oHostKeyAlias=mine"]] {
            let mut words = vec!["-F".to_owned(), config.to_str().unwrap().to_owned()];
            words.extend(more.iter().map(|&word| word.to_owned()));
            let ours = files::settings(&words, alias, None, false).unwrap();
            assert_eq!(printed(&ours), told(&words, alias), "{alias} {more:?}");
        }
    }
}

/// Our settings as `ssh -G` prints them.
fn printed(settings: &Settings) -> Vec<String> {
    let yes_no = |is: bool| if is { "yes" } else { "no" };
    let mut lines = vec![
        format!("hostname {}", settings.host_name),
        format!("port {}", settings.port),
        format!("user {}", settings.user.clone().unwrap_or_default()),
        format!("identitiesonly {}", yes_no(settings.identities_only)),
    ];
    let known = settings.known_hosts.clone();
    for (name, files) in ["userknownhostsfile", "globalknownhostsfile"]
        .iter()
        .zip(known)
    {
        lines.extend(files.map(|files| format!("{name} {}", files.join(" "))));
    }
    let files = &settings.identity_files;
    lines.extend(files.iter().map(|file| format!("identityfile {file}")));
    let alias = settings.key_alias.iter();
    lines.extend(alias.map(|alias| format!("hostkeyalias {alias}")));
    if !settings.jumps.is_empty() {
        lines.push(format!("proxyjump {}", settings.jumps.join(",")));
    }
    lines.sort();
    lines
}

fn told(words: &[String], address: &str) -> Vec<String> {
    let output = Command::new("ssh")
        .args(words)
        .args(["-G", "--", address])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let keywords = [
        "hostname",
        "port",
        "user",
        "identitiesonly",
        "userknownhostsfile",
        "globalknownhostsfile",
        "identityfile",
        "hostkeyalias",
        "proxyjump",
    ];
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| {
            let keyword = line.split(' ').next().unwrap_or_default();
            keywords.contains(&keyword)
        })
        // The usual files, where none is named.
        .filter(|line| !line.starts_with("identityfile ~/.ssh/id_"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_cannot_be_followed_is_refused_by_name_and_line() {
    for (line, what) in [
        ("ProxyCommand nc %h %p", "ProxyCommand"),
        ("Match exec true", "Match exec"),
        ("Match user bob", "Match user"),
        ("CanonicalizeHostname yes", "CanonicalizeHostname"),
        ("RevokedHostKeys /k", "RevokedHostKeys"),
        ("HostName \"a", "a quote that is left open"),
        ("Port x", "a Port that is no number"),
    ] {
        let refused = of_text(&format!("\nHost a\n{line}\n"), "a").unwrap_err();
        assert_eq!(
            (refused.what.as_str(), refused.at.as_str()),
            (what, "config line 3")
        );
    }
    // What stands elsewhere is nobody's concern.
    assert!(of_text("Host b\nProxyCommand nc\nCanonicalizeHostname yes\n", "a").is_ok());
    let words = |words: &[&str]| -> Vec<String> { words.iter().map(|&w| w.to_owned()).collect() };
    for options in [&["-W", "x:1"][..], &["-F"], &["-o", "Match all"]] {
        let refused = files::settings(&words(options), "a", None, false).unwrap_err();
        assert!(refused.to_string().contains("COFFERDAM_SSH"), "{refused}");
    }
    let refused = files::settings(&words(&["-F", "/nowhere/config"]), "a", None, false);
    assert!(refused.unwrap_err().to_string().contains("/nowhere/config"));
}

#[test]
fn jumps_are_split() {
    let of = |text| hop(text).map(|(address, port)| (address, port.unwrap_or(22)));
    assert_eq!(of("a"), Some(("a".to_owned(), 22)));
    assert_eq!(of("u@a:7"), Some(("u@a".to_owned(), 7)));
    assert_eq!(of("ssh://u@[::1]:7"), Some(("u@::1".to_owned(), 7)));
    assert_eq!(of("::1"), Some(("::1".to_owned(), 22)));
    for bad in ["", "u@", "a:x", "a:99999", "[::1"] {
        assert_eq!(of(bad), None, "{bad}");
    }
}

/// A key in wire form.
fn key(kind: &str, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(kind.len()).unwrap();
    [&length.to_be_bytes()[..], kind.as_bytes(), content].concat()
}

#[test]
fn a_key_is_known_only_if_a_line_says_so() {
    let (own, other) = (key("ssh-ed25519", b"own"), key("ssh-ed25519", b"other"));
    let rsa = key("ssh-rsa", b"rsa");
    let line = |name: &str, key: &[u8]| line_for(name, key);
    let of = |text: String| judge(&[text], "host.lan", 2200, &own);
    for (text, verdict) in [
        (line("[host.lan]:2200", &own), Verdict::Known),
        (line("[HOST.lan]:2200", &own), Verdict::Known),
        (line("x,[*.lan]:2200", &own), Verdict::Known),
        // As for ssh: a name alone stands for all its ports, but does not turn others away.
        (line("host.lan", &own), Verdict::Known),
        (line("host.lan", &other), Verdict::Unknown),
        (line("[host.lan]:22", &own), Verdict::Unknown),
        (line("*.lan,!host.lan", &own), Verdict::Unknown),
        (
            line("[*.lan]:2200,![host.lan]:2200", &own),
            Verdict::Unknown,
        ),
        (line("[host.lan]:2200", &other), Verdict::Changed),
        (line("[host.lan]:2200", &rsa), Verdict::Unknown),
        (
            line("[host.lan]:2200", &other) + "\n" + &line("[host.lan]:2200", &own),
            Verdict::Known,
        ),
        (
            line("[host.lan]:2200", &own) + "\n@revoked " + &line("*", &own),
            Verdict::Revoked,
        ),
        (
            "@revoked ".to_owned() + &line("*", &other),
            Verdict::Unknown,
        ),
        (
            "@cert-authority ".to_owned() + &line("[*.lan]:2200", &own),
            Verdict::Authority,
        ),
        (
            format!("# {}", line("[host.lan]:2200", &own)),
            Verdict::Unknown,
        ),
        (
            line("[host.lan]:2200", &own).replace("ed25519", "rsa"),
            Verdict::Unknown,
        ),
        ("[host.lan]:2200 ssh-ed25519".to_owned(), Verdict::Unknown),
        (String::new(), Verdict::Unknown),
    ] {
        assert_eq!(of(text.clone()), verdict, "{text}");
    }
    let lists = [line("[host.lan]:2200", &rsa), line("host.lan", &own)];
    assert_eq!(kinds(&lists, "host.lan", 2200), ["ssh-rsa", "ssh-ed25519"]);
}

#[test]
fn hashed_names_are_read() {
    let own = key("ssh-ed25519", b"own");
    let salt = b"twenty octets of it.";
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(salt).unwrap();
    mac.update(b"[host.lan]:2200");
    let hash = STANDARD.encode(mac.finalize().into_bytes());
    let name = format!("|1|{}|{hash}", STANDARD.encode(salt));
    let list = [line_for(&name, &own)];
    assert_eq!(judge(&list, "Host.lan", 2200, &own), Verdict::Known);
    assert_eq!(judge(&list, "host.lan", 22, &own), Verdict::Unknown);
    assert_eq!(judge(&list, "other.lan", 2200, &own), Verdict::Unknown);
}

#[test]
fn hashed_names_are_those_that_ssh_keygen_makes() {
    if !have("ssh-keygen") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("known_hosts");
    let keygen = |arguments: &[&str], file: &Path| {
        let made = Command::new("ssh-keygen")
            .args(arguments)
            .arg("-f")
            .arg(file)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let pair = folder.path().join("key");
    keygen(&["-q", "-t", "ed25519", "-N", ""], &pair);
    let public = std::fs::read_to_string(pair.with_extension("pub")).unwrap();
    std::fs::write(&list, format!("[host.lan]:2200,10.0.0.1 {public}")).unwrap();
    keygen(&["-H"], &list);
    let text = std::fs::read_to_string(&list).unwrap();
    assert!(text.starts_with("|1|"), "{text}");
    let texts = [text];
    let blob = STANDARD.decode(public.split(' ').nth(1).unwrap()).unwrap();
    assert_eq!(judge(&texts, "host.lan", 2200, &blob), Verdict::Known);
    assert_eq!(judge(&texts, "10.0.0.1", 22, &blob), Verdict::Known);
    assert_eq!(judge(&texts, "10.0.0.2", 22, &blob), Verdict::Unknown);
}

#[test]
fn patterns_fit_whole_names() {
    for (pattern, text, is) in [
        ("*", "", true),
        ("a*c?", "abbcd", true),
        ("a*c?", "abbc", false),
        ("**b", "ab", true),
        ("?", "", false),
        ("ab", "abc", false),
    ] {
        assert_eq!(fits(pattern, text), is, "{pattern} {text}");
    }
}
