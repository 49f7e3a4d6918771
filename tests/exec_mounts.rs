//! `cofferdam exec` refuses to have containers made that would mount files which go with the command; by a real compose, which
//! is asked before anything is made. No daemon is needed: compose fails to reach one only where nothing is refused.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail where it stands"
)]
#![cfg(target_os = "linux")]

mod support;

use support::runtime::{Stack, private_memory};
use support::{Ran, have_peers};

struct Bed {
    stack: Stack,
    root: tempfile::TempDir,
}

impl Bed {
    fn new() -> Option<Self> {
        if !have_peers(&["docker-compose"]) {
            return None;
        }
        let root = private_memory()?;
        let stack = Stack::new();
        stack.write(".sops.env", "PIN=4711\nPASSWORD=s3cr3t-value-of-all\n");
        stack.write("app.sops.yaml", "password: s3cr3t-value-of-all\n");
        Some(Self { stack, root })
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.stack.folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs compose with these words around the stack, from the folder above it.
    fn exec(&self, ours: &[&str], theirs: &[&str]) -> Ran {
        let mut command = self.stack.cofferdam();
        command.arg("exec").args(ours);
        if !ours.contains(&"--file") {
            command.arg("--root").arg(self.root.path());
        }
        command
            .args(["--state", "state", "--", "docker-compose", "-p", "s"])
            .args(["-f", "stack/compose.yaml"])
            .args(theirs)
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock");
        Ran::of(command.current_dir(self.stack.sandbox.path()))
    }

    #[track_caller]
    fn expect_clean(&self) {
        let left = std::fs::read_dir(self.root.path()).unwrap();
        let left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "gate"), "{left:?}");
        for link in [".env", "app.yaml"] {
            assert!(!self.stack.folder().join(link).is_symlink(), "{link}");
        }
    }
}

/// Projects of which a container would mount `app.yaml` or `.env`, with what mounts it.
const MOUNTING: [(&str, &str); 9] = [
    (
        "services: {app: {image: a, volumes: ['./app.yaml:/a:ro']}}",
        "the service app would mount stack/app.yaml",
    ),
    (
        "services: {app: {image: a, volumes: [{type: bind, source: ./app.yaml, target: /a, bind: {create_host_path: false}}]}}",
        "the service app would mount stack/app.yaml",
    ),
    (
        "services: {app: {image: a, secrets: [x]}}\nsecrets: {x: {file: ../stack/.env}}",
        "the secret x would mount stack/.env",
    ),
    (
        "services: {app: {image: a, configs: [x]}}\nconfigs: {x: {file: app.yaml}}",
        "the config x would mount stack/app.yaml",
    ),
    (
        "include: [other/compose.yaml]\nservices: {app: {image: a}}",
        "the service within would mount stack/app.yaml",
    ),
    (
        "services: {app: {extends: {file: other/compose.yaml, service: within}}}",
        "the service app would mount stack/app.yaml",
    ),
    (
        "services: {app: {image: a, volumes: ['vol:/a']}}\nvolumes: {vol: {driver_opts: {type: none, o: bind, device: '${COFFERDAM_DIR}/app.yaml'}}}",
        "the volume vol would mount /dev/shm/",
    ),
    (
        "services: {app: {image: a, volumes: ['${COFFERDAM_DIR}:/a']}}",
        "the service app would mount /dev/shm/",
    ),
    (
        "services: {app: {image: a}, hidden: {image: b, profiles: [p], volumes: ['./link:/a']}}",
        "the service hidden would mount stack/link",
    ),
];

#[test]
fn what_would_outlive_its_files_is_not_made() {
    let Some(bed) = Bed::new() else { return };
    bed.write(
        "other/compose.yaml",
        "services: {within: {image: a, volumes: ['../app.yaml:/a']}}\n",
    );
    // A link to a link.
    std::os::unix::fs::symlink("app.yaml", bed.stack.folder().join("link")).unwrap();
    for (text, told) in MOUNTING {
        bed.write("compose.yaml", text);
        let up: &[&str] = if text.contains("profiles") {
            &["up", "-d", "hidden"]
        } else {
            &["up", "-d"]
        };
        let ran = bed.exec(&["--dir", "stack"], up);
        assert_eq!(ran.code, Some(125), "{told}\n{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("error: {told}")),
            "{told}\n{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("hint: cofferdam unseal --dir stack "),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "");
        bed.expect_clean();
    }
    // Other ways to make containers; what makes none passes.
    bed.write("compose.yaml", MOUNTING[0].0);
    for (words, code) in [
        (&["create"][..], 125),
        (&["run", "--rm", "app"], 125),
        (&["up", "--help"], 0),
        (&["config", "--quiet"], 0),
        (&["config"], 0),
        (&["ps"], 1),
        (&["pull"], 1),
    ] {
        let ran = bed.exec(&["--dir", "stack"], words);
        assert_eq!(ran.code, Some(code), "{words:?}\n{}", ran.stderr);
        bed.expect_clean();
    }
    bed.write("compose.yaml", "services: {app: {image: a}}");
    let ran = bed.exec(
        &["--dir", "stack"],
        &["run", "-v", "./stack/app.yaml:/a", "app"],
    );
    assert!(
        ran.expect_code(125)
            .stderr
            .contains("the container would mount"),
    );
}

#[test]
fn what_stays_is_mounted_and_what_is_kept_is_named() {
    let Some(bed) = Bed::new() else { return };
    // No daemon: 1 is compose's own code.
    for text in [
        "services: {app: {image: a, env_file: .env}}",
        "services: {app: {image: a, volumes: ['./compose.yaml:/a', 'v:/b', '/:/c']}}\nvolumes: {v: {}}",
        // Not to be made, unless it is named.
        "services: {app: {image: a}, hidden: {image: b, profiles: [p], volumes: ['./app.yaml:/a']}}",
    ] {
        bed.write("compose.yaml", text);
        let ran = bed.exec(&["--dir", "stack"], &["up", "-d"]).expect_code(1);
        assert!(!ran.stderr.contains("holds a value"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("mounts"), "{}", ran.stderr);
        bed.expect_clean();
    }
    // The folder that holds the links.
    bed.write(
        "compose.yaml",
        "services: {app: {image: a, volumes: ['.:/a']}}",
    );
    let ran = bed.exec(&["--dir", "stack"], &["up", "-d"]).expect_code(1);
    assert!(
        ran.stderr
            .contains("the service app mounts stack: the links in it lead nowhere"),
        "{}",
        ran.stderr
    );
    // Files that stay.
    bed.write("compose.yaml", MOUNTING[0].0);
    let mut unseal = bed.stack.cofferdam();
    unseal
        .args(["unseal", "--dir", ".", "--root"])
        .arg(bed.root.path());
    Ran::of(&mut unseal).expect_code(0);
    let ran = bed.exec(&["--dir", "stack"], &["up", "-d"]).expect_code(1);
    assert!(!ran.stderr.contains("would mount"), "{}", ran.stderr);
    Ran::of(
        bed.stack
            .cofferdam()
            .arg("wipe")
            .arg("--root")
            .arg(bed.root.path()),
    )
    .expect_code(0);

    bed.write("Dockerfile", "FROM scratch\nARG PIN\n");
    let kept = "services:\n  app: {image: a, build: {context: ., args: {PIN: , TOKEN: 'x${PASSWORD}', PLAIN: x}}, secrets: [s, t], configs: [c, d]}\n\
                secrets: {s: {environment: PASSWORD}, t: {environment: HOME}}\nconfigs: {c: {content: 'p=${PASSWORD}'}, d: {content: nothing}}\n";
    bed.write("compose.yaml", kept);
    for (ours, words) in [
        (&["--file", "stack/.sops.env"][..], &["up", "-d"][..]),
        (&["--no-mask", "--file", "stack/.sops.env"], &["build"]),
        (&["--dir", "stack"], &["up", "-d"]),
    ] {
        let ran = bed.exec(ours, words);
        let named: Vec<&str> = ran
            .stderr
            .lines()
            .filter(|line| line.contains("which dockerd keeps"))
            .collect();
        let told = [
            "the build argument PIN of the service app",
            "the build argument TOKEN of the service app",
            "the secret s",
            "the config c",
        ];
        let told =
            told.map(|what| format!("warning: {what} holds a value, which dockerd keeps on disk"));
        assert_eq!(named, told, "{ours:?}\n{}", ran.stderr);
        assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    }
}

#[test]
fn where_compose_does_not_say_nothing_is_made() {
    let Some(bed) = Bed::new() else { return };
    bed.write(
        "compose.yaml",
        "services: {app: {image: \"${PASSWORD:?}\", command: [\"${NO:?s3cr3t-value-of-all}\"]}}",
    );
    let ran = bed
        .exec(&["--dir", "stack"], &["up", "-d"])
        .expect_code(125);
    for told in [
        "error: it is not known what the containers would mount",
        "caused by: docker compose config failed with exit code 1",
        "[masked]",
    ] {
        assert!(ran.stderr.contains(told), "{told}\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    bed.expect_clean();
    // The host's key must be its own.
    bed.write("compose.yaml", "services: {app: {image: a}}");
    let key = bed.stack.sandbox.path().join("state/digest.key");
    std::fs::write(&key, "short").unwrap();
    let ran = bed.exec(&["--dir", "stack"], &["up"]).expect_code(125);
    assert!(
        ran.stderr.contains("digest.key is not a key of 32 bytes"),
        "{}",
        ran.stderr
    );
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).unwrap();
    let ran = bed.exec(&["--dir", "stack"], &["up"]).expect_code(125);
    assert!(ran.stderr.contains("is not private"), "{}", ran.stderr);
}
