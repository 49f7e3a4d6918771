//! `cofferdam exec` refuses to have containers made that would mount files which go with the command; by a real compose, which
//! is asked before anything is made. No daemon is needed: compose fails to reach one only where nothing is refused.

#![cfg(target_os = "linux")]

use crate::support::runtime::Bed;
use crate::support::{Ran, have_peers};

/// Where the plaintext of the documents is linked.
const LINKS: [&str; 2] = [".env", "app.yaml"];

fn bed() -> Option<Bed> {
    if !have_peers(&["docker-compose"]) {
        return None;
    }
    let bed = Bed::new()?;
    bed.stack
        .write(".sops.env", "PIN=4711\nPASSWORD=s3cr3t-value-of-all\n");
    bed.stack
        .write("app.sops.yaml", "password: s3cr3t-value-of-all\n");
    Some(bed)
}

/// Runs compose with these words around the stack, from the folder above it.
fn exec(bed: &Bed, ours: &[&str], theirs: &[&str]) -> Ran {
    let mut command = bed.stack.cofferdam();
    command.arg("exec").args(ours);
    if !ours.contains(&"--file") {
        command.arg("--root").arg(bed.root.path());
    }
    command
        .args(["--state", "state", "--", "docker-compose", "-p", "s"])
        .args(["-f", "stack/compose.yaml"])
        .args(theirs)
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    Ran::of(command.current_dir(bed.stack.sandbox.path()))
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
    let Some(bed) = bed() else { return };
    bed.write_plain(
        "other/compose.yaml",
        "services: {within: {image: a, volumes: ['../app.yaml:/a']}}\n",
    );
    // A link to a link.
    std::os::unix::fs::symlink("app.yaml", bed.stack.folder().join("link")).unwrap();
    for (text, told) in MOUNTING {
        bed.write_plain("compose.yaml", text);
        let up: &[&str] = if text.contains("profiles") {
            &["up", "-d", "hidden"]
        } else {
            &["up", "-d"]
        };
        let ran = exec(&bed, &["--dir", "stack"], up);
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
        bed.expect_clean(&LINKS);
    }
    // Other ways to make containers; what makes none passes.
    bed.write_plain("compose.yaml", MOUNTING[0].0);
    for (words, code) in [
        (&["create"][..], 125),
        (&["run", "--rm", "app"], 125),
        (&["up", "--help"], 0),
        (&["config", "--quiet"], 0),
        (&["config"], 0),
        (&["ps"], 1),
        (&["pull"], 1),
    ] {
        let ran = exec(&bed, &["--dir", "stack"], words);
        assert_eq!(ran.code, Some(code), "{words:?}\n{}", ran.stderr);
        bed.expect_clean(&LINKS);
    }
    bed.write_plain("compose.yaml", "services: {app: {image: a}}");
    let ran = exec(
        &bed,
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
    let Some(bed) = bed() else { return };
    // No daemon: 1 is compose's own code.
    for text in [
        "services: {app: {image: a, env_file: .env}}",
        "services: {app: {image: a, volumes: ['./compose.yaml:/a', 'v:/b', '/:/c']}}\nvolumes: {v: {}}",
        // Not to be made, unless it is named.
        "services: {app: {image: a}, hidden: {image: b, profiles: [p], volumes: ['./app.yaml:/a']}}",
    ] {
        bed.write_plain("compose.yaml", text);
        let ran = exec(&bed, &["--dir", "stack"], &["up", "-d"]).expect_code(1);
        assert!(!ran.stderr.contains("holds a value"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("mounts"), "{}", ran.stderr);
        bed.expect_clean(&LINKS);
    }
    // The folder that holds the links.
    bed.write_plain(
        "compose.yaml",
        "services: {app: {image: a, volumes: ['.:/a']}}",
    );
    let ran = exec(&bed, &["--dir", "stack"], &["up", "-d"]).expect_code(1);
    assert!(
        ran.stderr
            .contains("the service app mounts stack: the links in it lead nowhere"),
        "{}",
        ran.stderr
    );
    // Files that stay.
    bed.write_plain("compose.yaml", MOUNTING[0].0);
    let mut unseal = bed.stack.cofferdam();
    unseal
        .args(["unseal", "--dir", ".", "--root"])
        .arg(bed.root.path());
    Ran::of(&mut unseal).expect_code(0);
    let ran = exec(&bed, &["--dir", "stack"], &["up", "-d"]).expect_code(1);
    assert!(!ran.stderr.contains("would mount"), "{}", ran.stderr);
    Ran::of(
        bed.stack
            .cofferdam()
            .arg("wipe")
            .arg("--root")
            .arg(bed.root.path()),
    )
    .expect_code(0);

    bed.write_plain("Dockerfile", "FROM scratch\nARG PIN\n");
    let kept = "services:\n  app: {image: a, build: {context: ., args: {PIN: , TOKEN: 'x${PASSWORD}', PLAIN: x}}, secrets: [s, t], configs: [c, d]}\n\
                secrets: {s: {environment: PASSWORD}, t: {environment: HOME}}\nconfigs: {c: {content: 'p=${PASSWORD}'}, d: {content: nothing}}\n";
    bed.write_plain("compose.yaml", kept);
    for (ours, words) in [
        (&["--file", "stack/.sops.env"][..], &["up", "-d"][..]),
        (&["--no-mask", "--file", "stack/.sops.env"], &["build"]),
        (&["--dir", "stack"], &["up", "-d"]),
    ] {
        let ran = exec(&bed, ours, words);
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
    let Some(bed) = bed() else { return };
    bed.write_plain(
        "compose.yaml",
        "services: {app: {image: \"${PASSWORD:?}\", command: [\"${NO:?s3cr3t-value-of-all}\"]}}",
    );
    let ran = exec(&bed, &["--dir", "stack"], &["up", "-d"]).expect_code(125);
    for told in [
        "error: it is not known what the containers would mount",
        "caused by: docker compose config failed with exit code 1",
        "[masked]",
    ] {
        assert!(ran.stderr.contains(told), "{told}\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("s3cr3t"), "{}", ran.stderr);
    bed.expect_clean(&LINKS);
    // The host's key must be its own.
    bed.write_plain("compose.yaml", "services: {app: {image: a}}");
    let key = bed.stack.sandbox.path().join("state/digest.key");
    std::fs::write(&key, "short").unwrap();
    let ran = exec(&bed, &["--dir", "stack"], &["up"]).expect_code(125);
    assert!(
        ran.stderr.contains("digest.key is not a key of 32 bytes"),
        "{}",
        ran.stderr
    );
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, open).unwrap();
    let ran = exec(&bed, &["--dir", "stack"], &["up"]).expect_code(125);
    assert!(ran.stderr.contains("is not private"), "{}", ran.stderr);
}
