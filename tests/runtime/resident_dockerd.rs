//! Containers of a real dockerd that read what `cofferdam unseal` keeps in memory: values reach them while they run, dockerd
//! keeps none, and a restart of the machine brings all back.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::dockerd::Dockerd;
use crate::support::runtime::Stack;
use crate::support::{COFFERDAM, Ran, Sandbox, find_program, have_peers};

/// A host: a dockerd, a stack's folder, and a tmpfs where `/run` would be.
struct Host {
    stack: Stack,
    dockerd: Dockerd,
    run: PathBuf,
}

impl Host {
    fn start() -> Option<Self> {
        if !have_peers(&["docker-compose", "mount", "umount"]) {
            return None;
        }
        let dockerd = Dockerd::start()?;
        dockerd.import("box", &[]);
        let stack = Stack::new();
        let run = stack.sandbox.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let host = Self {
            stack,
            dockerd,
            run,
        };
        host.mount();
        Some(host)
    }

    fn mount(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=0755", "none"]);
        Ran::of(mount.arg(&self.run)).expect_code(0);
    }

    fn root(&self) -> PathBuf {
        self.run.join("cofferdam")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.stack.command(program);
        command
            .env("DOCKER_HOST", self.dockerd.host())
            .env("DOCKER_CONFIG", self.dockerd.folder())
            .env("ROOT", self.root());
        command
    }

    fn unseal(&self, args: &[&str]) -> Ran {
        let mut command = self.command(COFFERDAM);
        command.args(["unseal", "--dir", ".=app", "--root"]);
        Ran::of(command.arg(self.root()).args(args))
    }

    fn compose(&self, args: &[&str]) -> Ran {
        let compose = find_program("docker-compose").unwrap();
        Ran::of(self.command(compose.to_str().unwrap()).args(args))
    }

    /// Stops everything, forgets what was in memory, and comes back as far as the mount.
    fn go_down(&mut self) {
        self.dockerd.stop();
        Ran::of(Command::new("umount").arg(&self.run)).expect_code(0);
        self.mount();
    }

    fn read(&self, container: &str, path: &str) -> String {
        let ran = self.dockerd.docker(&["exec", container, "/bin/cat", path]);
        ran.expect_code(0).stdout
    }

    fn id(&self, container: &str) -> String {
        let ran = self.dockerd.docker(&[
            "inspect",
            "--format={{.Id}} {{.State.StartedAt}}",
            container,
        ]);
        ran.expect_code(0).stdout
    }

    #[track_caller]
    fn wait_for(&self, container: &str) {
        let began = Instant::now();
        loop {
            let state = ["inspect", "--format={{.State.Running}}", container];
            if self.dockerd.docker(&state).stdout.trim() == "true" {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{container} does not run"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its containers hold the mount.
        let ids = self.dockerd.docker(&["ps", "--all", "--quiet"]).stdout;
        let mut args = vec!["rm", "--force"];
        args.extend(ids.split_whitespace());
        self.dockerd.docker(&args);
        let _ = Command::new("umount").arg("-l").arg(&self.run).status();
    }
}

/// The files below `folder` that hold one of these texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut grep = Command::new("grep");
    grep.args([
        "--recursive",
        "--fixed-strings",
        "--text",
        "--files-with-matches",
    ]);
    for text in texts {
        grep.args(["--regexp", text]);
    }
    let found = Ran::of(grep.arg(folder));
    found.stdout.lines().map(str::to_owned).collect()
}

const COMPOSE: &str = "name: app
services:
  folder:
    container_name: folder
    image: box
    network_mode: none
    restart: unless-stopped
    stop_signal: SIGKILL
    command: [/bin/sleep, \"3600\"]
    volumes:
      - type: bind
        source: ${ROOT}/app
        target: /run/secrets
        read_only: true
        bind: {create_host_path: false}
  file:
    container_name: file
    image: box
    network_mode: none
    restart: unless-stopped
    stop_signal: SIGKILL
    command: [/bin/sleep, \"3600\"]
    secrets: [password]
  neither:
    container_name: neither
    image: box
    network_mode: none
    restart: unless-stopped
    stop_signal: SIGKILL
    command: [/bin/sleep, \"3600\"]
secrets:
  password: {file: ./password.txt}
";

const OLD: &str = "the 0ld pa$$word, 'quoted' # whole\nsecond line\n";
const NEW: &str = "the n3w pa$$word, \"quoted\" # whole\nsecond line ünïcode\n";

#[test]
fn values_reach_containers_while_they_run_and_dockerd_keeps_none() {
    let Some(mut host) = Host::start() else {
        return;
    };
    std::fs::write(host.stack.folder().join("compose.yaml"), COMPOSE).unwrap();
    let big = format!("B={}\n", "64 KiB of it ".repeat(5042));
    host.stack.write("password.sops.txt", OLD);
    host.stack.write("big.sops.env", &big);
    host.unseal(&[]).expect_code(0);
    host.compose(&["up", "--detach"]).expect_code(0);
    assert_eq!(host.read("folder", "/run/secrets/password.txt"), OLD);
    assert_eq!(host.read("folder", "/run/secrets/big.env"), big);
    assert_eq!(host.read("file", "/run/secrets/password"), OLD);

    // A rotation: the folder has it at once, the single file once its container was restarted.
    let started = |name| host.id(name);
    let before = (started("folder"), started("file"), started("neither"));
    host.stack.write("password.sops.txt", NEW);
    let ran = host.unseal(&["--on-change", "stack/password.txt=container:file"]);
    // GLOB is as seen from the working directory.
    assert!(!ran.stdout.contains("done:"), "{}", ran.stdout);
    assert_eq!(host.read("folder", "/run/secrets/password.txt"), NEW);
    assert_eq!(host.read("file", "/run/secrets/password"), OLD);
    assert_eq!(
        (started("folder"), started("file")),
        (before.0.clone(), before.1.clone())
    );
    host.stack
        .write("password.sops.txt", &NEW.replace("n3w", "n3west"));
    let on_change = [
        "--on-change",
        "password.txt=container:file",
        "--on-change",
        "big.env=container:neither",
    ];
    let ran = host.unseal(&on_change).expect_code(0);
    assert!(
        ran.stdout.contains("done: container:file"),
        "{}",
        ran.stdout
    );
    let newest = NEW.replace("n3w", "n3west");
    assert_eq!(host.read("folder", "/run/secrets/password.txt"), newest);
    assert_eq!(host.read("file", "/run/secrets/password"), newest);
    assert_eq!(
        (started("folder"), started("neither")),
        (before.0.clone(), before.2.clone())
    );
    assert_ne!(started("file"), before.1);

    // Neither dockerd, nor containerd, nor the stack's disk holds any of it.
    let values = [
        "0ld pa$$word",
        "n3w pa$$word",
        "n3west pa$$word",
        "64 KiB of it",
    ];
    let searched = || {
        [
            files_with(host.dockerd.folder(), &values),
            files_with(&host.stack.folder(), &values),
        ]
        .concat()
    };
    // A link into memory is followed by grep only where it is named.
    assert_eq!(searched(), [] as [String; 0]);

    // The machine restarts; the unit for its start is run, then docker comes.
    let unit = std::fs::read_to_string(
        crate::support::tests_folder().join("../runbooks/resident/cofferdam-unseal.service"),
    )
    .unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/cofferdam"));
    host.go_down();
    assert!(!host.stack.folder().join("password.txt").exists());
    let mut boot = host.command(COFFERDAM);
    boot.args(words)
        .arg("--root")
        .arg(host.root())
        .args(["--dir", ".=app"]);
    Ran::of(&mut boot).expect_code(0);
    host.dockerd.start_again();
    for container in ["folder", "file", "neither"] {
        host.wait_for(container);
    }
    assert_eq!(host.read("folder", "/run/secrets/password.txt"), newest);
    assert_eq!(host.read("file", "/run/secrets/password"), newest);

    // The machine restarts and docker comes first: containers stop, and are started once the files are there.
    host.go_down();
    host.dockerd.start_again();
    std::thread::sleep(Duration::from_millis(500));
    let names = host.dockerd.docker(&["ps", "--format={{.Names}}"]).stdout;
    assert_eq!(names.trim(), "neither");
    let ran = host.unseal(&[]).expect_code(0);
    for container in ["folder", "file"] {
        let told = format!("docker start {container}");
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
    }
    assert!(
        !ran.stderr.contains("docker start neither"),
        "{}",
        ran.stderr
    );
    let ran = host.unseal(&["--start", "--json"]).expect_code(0);
    assert_eq!(
        ran.stdout.matches("\"started\": true").count(),
        2,
        "{}",
        ran.stdout
    );
    for container in ["folder", "file"] {
        host.wait_for(container);
    }
    assert_eq!(host.read("folder", "/run/secrets/password.txt"), newest);
    assert_eq!(host.read("file", "/run/secrets/password"), newest);
    assert_eq!(
        files_with(host.dockerd.folder(), &values),
        [] as [String; 0]
    );
    // One that its owner stopped stays stopped.
    host.dockerd
        .docker(&["stop", "--time=0", "file"])
        .expect_code(0);
    let ran = host.unseal(&["--start"]).expect_code(0);
    assert!(!ran.stderr.contains("started"), "{}", ran.stderr);
}

#[test]
fn a_folder_that_dockerd_made_where_a_file_was_missing_goes() {
    let Some(host) = Host::start() else { return };
    host.stack.write("password.sops.txt", OLD);
    let short = |path: &Path| format!("{}:/password", path.display());
    let in_root = short(&host.root().join("app/password.txt"));
    let in_stack = short(&host.stack.folder().join("password.txt"));
    for (name, bind) in [("in-root", in_root), ("in-stack", in_stack)] {
        host.dockerd.run(
            name,
            "box",
            &["--restart=unless-stopped", "--volume", &bind],
        );
        host.dockerd
            .docker(&["stop", "--time=0", name])
            .expect_code(0);
    }
    assert!(host.root().join("app/password.txt").is_dir());
    let ran = host.unseal(&[]).expect_code(0);
    assert!(ran.stderr.contains("an empty folder"), "{}", ran.stderr);
    // What was mounted as a folder is to be made anew: that is compose's to do.
    assert_eq!(
        std::fs::read_to_string(host.stack.folder().join("password.txt")).unwrap(),
        OLD
    );
}

#[test]
fn the_units_are_ones_that_systemd_reads() {
    if !have_peers(&["systemd-analyze"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let units = crate::support::tests_folder().join("../runbooks/resident");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(units).unwrap() {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let path = sandbox.path().join(entry.file_name());
        std::fs::write(&path, text.replace("/usr/local/bin/cofferdam", COFFERDAM)).unwrap();
        paths.push(path);
    }
    let mut verify = sandbox.command("systemd-analyze", sandbox.path());
    let ran = Ran::of(verify.arg("verify").args(&paths)).expect_code(0);
    assert_eq!(ran.stderr, "");
}
