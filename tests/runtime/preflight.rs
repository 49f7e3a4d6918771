//! `cofferdam preflight` as an entrypoint, and the files for Komodo's periphery.

#![cfg(target_os = "linux")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::dockerd::Dockerd;
use crate::support::runtime::{Stack, private_memory};
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};

/// A stack's folder, and a folder in memory.
fn bed() -> Option<(Stack, tempfile::TempDir)> {
    let root = private_memory()?;
    let stack = Stack::new();
    stack.write("canary.sops.env", "A=the value\n");
    Some((stack, root))
}

fn preflight(stack: &Stack, root: &Path, args: &[&str]) -> Command {
    let mut command = stack.cofferdam();
    command.arg("preflight").arg("--root").arg(root).args(args);
    command
}

#[test]
fn where_all_is_well_the_program_takes_its_place() {
    let Some((stack, root)) = bed() else { return };
    let show = "echo \"$$ $SOPS_AGE_KEY_FILE\"; exit 7";
    for canary in [&[][..], &["--canary", "canary.sops.env"]] {
        let mut command = preflight(&stack, root.path(), canary);
        command.args(["--", "sh", "-c", show]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let expected = format!("{} {}\n", child.id(), stack.key_file().display());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("opens"), "{said}");
        assert!(!said.contains("the value"), "{said}");
    }
    Ran::of(&mut preflight(&stack, root.path(), &[])).expect_code(0);
}

#[test]
fn what_is_wrong_is_told_at_once_and_nothing_starts() {
    let Some((stack, root)) = bed() else { return };
    let ran = |root: &Path, args: &[&str]| {
        let mut command = preflight(&stack, root, args);
        command.args(["--", "touch", "started"]);
        let ran = Ran::of(&mut command).expect_code(125);
        assert!(!stack.folder().join("started").exists());
        ran.stderr
    };
    let foreign = Stack::new();
    foreign.write("a.sops.env", "A=for others\n");
    let other = foreign.folder().join("a.sops.env");
    let said = ran(root.path(), &["--canary", other.to_str().unwrap()]);
    assert!(said.contains("cannot open"), "{said}");
    let said = ran(root.path(), &["--canary", "absent.sops.env"]);
    assert!(said.contains("cannot read absent.sops.env"), "{said}");

    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(stack.key_file(), mode).unwrap();
    };
    mode(0o644);
    let said = ran(&stack.folder(), &[]);
    assert!(said.contains("can be read by others"), "{said}");
    assert!(said.contains("is not in memory"), "{said}");
    mode(0o600);
    std::fs::write(stack.key_file(), "no key\n").unwrap();
    let said = ran(root.path(), &[]);
    assert!(said.contains("is not usable"), "{said}");
    assert!(!said.contains("no key"), "{said}");
    std::fs::remove_file(stack.key_file()).unwrap();
    let said = ran(root.path(), &[]);
    assert!(said.contains("SOPS_AGE_KEY_FILE"), "{said}");
    let mut command = preflight(&stack, root.path(), &["--", "true"]);
    command.env_remove("SOPS_AGE_KEY_FILE");
    let said = Ran::of(&mut command).expect_code(125).stderr;
    assert!(said.contains("there is no identity"), "{said}");
}

#[test]
fn a_program_that_cannot_be_run_has_its_own_code() {
    let Some((stack, root)) = bed() else { return };
    let run = |args: &[&str]| Ran::of(&mut preflight(&stack, root.path(), args));
    run(&["--", "no-such-program"]).expect_code(127);
    run(&["--", "/"]).expect_code(126);
    run(&["--no-such-flag"]).expect_code(125);
}

/// The folder with the files for Komodo.
fn komodo() -> PathBuf {
    crate::support::tests_folder().join("../runbooks/komodo")
}

#[test]
fn the_peripherys_image_is_built_and_looks_before_it_starts() {
    let Some(dockerd) = Dockerd::start() else {
        return;
    };
    // In the place of the periphery: an entrypoint and a program of the same names.
    let sandbox = Sandbox::new();
    let context = sandbox.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let put = |name: &str, text: &str| {
        let path = sandbox.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let entrypoint = put("entrypoint.sh", "#!/bin/sh\nexec \"$@\"\n");
    let periphery = put(
        "periphery",
        "#!/bin/sh\necho \"periphery is process $$\"\ncd /stack && sops-decrypt.sh && cat .env && cofferdam wipe\n",
    );
    dockerd.import("base", &[&entrypoint, &periphery, Path::new(COFFERDAM)]);
    std::fs::copy(COFFERDAM, context.join("cofferdam")).unwrap();
    let dockerfile = komodo().join("Dockerfile.periphery");
    let build = [
        "build",
        "--network=none",
        "--build-arg=PERIPHERY=base",
        "--tag=periphery",
        "--file",
        dockerfile.to_str().unwrap(),
        context.to_str().unwrap(),
    ];
    dockerd
        .docker_with(&build, &[("DOCKER_BUILDKIT", "0")])
        .expect_code(0);

    let stack = Stack::within(sandbox);
    stack.write(".sops.env", "A=the value\n");
    let key = format!("{}:/etc/sops/age/keys.txt:ro", stack.key_file().display());
    let folder = format!("{}:/stack", stack.folder().display());
    let mut run = vec![
        "run",
        "--rm",
        "--network=none",
        "--volume",
        &key,
        "--volume",
        &folder,
    ];
    run.push("--env=SOPS_AGE_KEY_FILE=/etc/sops/age/keys.txt");
    let memory = "--tmpfs=/run/cofferdam:size=64m,mode=0700,nosuid,nodev,noexec";
    let mut well = run.clone();
    well.extend([memory, "periphery"]);
    let ran = dockerd.docker(&well).expect_code(0);
    assert!(
        ran.stdout.starts_with("periphery is process 1\n"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("A=the value\n"), "{}", ran.stdout);
    assert!(!stack.folder().join(".env").is_symlink());
    // /dev/shm is the last resort of a container without; where that is taken away, it does not start.
    let mut none = run.clone();
    none.extend(["--ipc=none", "periphery"]);
    let ran = dockerd.docker(&none).expect_code(125);
    assert!(
        ran.stderr.contains("no memory-backed folder"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, "");
}

#[test]
fn the_compose_file_is_one_that_compose_reads() {
    if !have_peers(&["docker-compose"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let mut compose = sandbox.command("docker-compose", &komodo());
    compose.args(["-f", "compose.yaml", "config", "--format", "json"]);
    let told = Ran::of(&mut compose).expect_code(0).stdout;
    let project: serde_json::Value = serde_json::from_str(&told).unwrap();
    let periphery = &project["services"]["periphery"];
    assert_eq!(periphery["volumes"][0]["read_only"], true);
    let memory = periphery["tmpfs"][0].as_str().unwrap();
    assert!(memory.starts_with("/run/cofferdam:"), "{memory}");
}
