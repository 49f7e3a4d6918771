//! A real `dockerd` of the test's own: in a folder of its own, without network, with images made of busybox. It is our child
//! and ends with the value, and so do its containers.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail where it stands, and uses what it needs"
)]

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Ran, find_program};

/// How long it may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon.
#[derive(Debug)]
pub struct Dockerd {
    folder: tempfile::TempDir,
    child: Child,
}

impl Dockerd {
    /// Starts it; none where a program or a right is missing, which is said, or fails the test where
    /// `COFFERDAM_REQUIRE_PEERS=1` asks for that.
    pub fn start() -> Option<Self> {
        if !super::have_peers(&["dockerd", "docker", "containerd", "runc", "busybox", "tar"]) {
            return None;
        }
        let root = rustix::process::geteuid().is_root();
        let started = if root {
            Self::begin()
        } else {
            Err("a dockerd is started as root only".to_owned())
        };
        match started {
            Ok(daemon) => Some(daemon),
            Err(why) => {
                let required =
                    std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
                assert!(!required, "no dockerd: {why}");
                println!("skipped: no dockerd: {why}");
                None
            }
        }
    }

    fn begin() -> Result<Self, String> {
        // Paths of sockets are short.
        let folder = tempfile::Builder::new()
            .prefix("cfd")
            .tempdir_in("/tmp")
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        // Not the machine's own settings.
        std::fs::write(path("daemon.json"), "{}").unwrap();
        let child = Self::spawn(folder.path())?;
        let mut daemon = Self { folder, child };
        daemon.wait_until_up()?;
        Ok(daemon)
    }

    fn spawn(folder: &Path) -> Result<Child, String> {
        let path = |name: &str| folder.join(name);
        let log = File::create(path("log")).unwrap();
        Command::new(find_program("dockerd").unwrap())
            .arg("--data-root")
            .arg(path("d"))
            .arg("--exec-root")
            .arg(path("e"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("s").display()))
            .arg("--config-file")
            .arg(path("daemon.json"))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver=vfs", "--shutdown-timeout=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())
    }

    /// Stops the daemon as a machine that goes down does, its containers with it; what it keeps stays.
    pub fn stop(&mut self) {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            assert!(Instant::now() < deadline, "dockerd does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts it again over what it keeps.
    pub fn start_again(&mut self) {
        self.child = Self::spawn(self.folder.path()).unwrap();
        self.wait_until_up().unwrap();
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while self.docker(&["version"]).code != Some(0) {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.folder.path().join("log"));
                let log = log.unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                return Err(format!("it does not start: {}", last.join(" / ")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// All that it has: on disk, in its sockets' folder, its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `DOCKER_HOST` must be to reach it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("s").display())
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it keeps on disk.
    pub fn data_root(&self) -> PathBuf {
        self.folder.path().join("d")
    }

    /// Runs the command line client against it.
    pub fn docker(&self, args: &[&str]) -> Ran {
        self.docker_with(args, &[])
    }

    /// The same with these variables.
    pub fn docker_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = Command::new(find_program("docker").unwrap());
        command
            .args(args)
            .envs(variables.iter().copied())
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", self.folder.path())
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null());
        Ran::of(&mut command)
    }

    /// Puts a `docker` into the folder `bin` that reaches this daemon whatever the environment says.
    pub fn put_client(&self, bin: &Path) {
        let text = format!(
            "#!/bin/sh\nDOCKER_HOST='{}' DOCKER_CONFIG='{}' exec '{}' \"$@\"\n",
            self.host(),
            self.folder.path().display(),
            find_program("docker").unwrap().display()
        );
        std::fs::write(bin.join("docker"), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join("docker"), mode).unwrap();
    }

    /// Makes an image of busybox, its applets, and `programs`, each with the libraries that it needs, in `/bin`.
    pub fn import(&self, image: &str, programs: &[&Path]) {
        let root = self.folder.path().join(format!("root-{image}"));
        for folder in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let busybox = find_program("busybox").unwrap();
        for program in [busybox.as_path()].iter().chain(programs) {
            let name = program.file_name().unwrap();
            std::fs::copy(program, root.join("bin").join(name)).unwrap();
            for library in libraries(program) {
                let to = root.join(library.strip_prefix("/").unwrap());
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(&library, to).unwrap();
            }
        }
        let applets = Ran::of(Command::new(&busybox).arg("--list")).stdout;
        for applet in applets.lines() {
            let link = root.join("bin").join(applet);
            if !link.exists() {
                symlink("busybox", link).unwrap();
            }
        }
        self.import_folder(image, &root);
    }

    /// Makes an image of one program, as `/NAME`, and nothing else.
    pub fn import_only(&self, image: &str, program: &Path) {
        let root = self.folder.path().join(format!("root-{image}"));
        std::fs::create_dir(&root).unwrap();
        std::fs::copy(program, root.join(program.file_name().unwrap())).unwrap();
        self.import_folder(image, &root);
    }

    fn import_folder(&self, image: &str, root: &Path) {
        let tar = self.folder.path().join(format!("{image}.tar"));
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(root).arg("-cf").arg(&tar).arg(".");
        Ran::of(&mut pack).expect_code(0);
        self.docker(&["import", tar.to_str().unwrap(), image])
            .expect_code(0);
    }

    /// Starts a container without network that does nothing; `options` are further ones of `docker run`.
    pub fn run(&self, name: &str, image: &str, options: &[&str]) {
        let mut args = vec!["run", "--detach", "--name", name, "--network", "none"];
        args.extend(options);
        args.extend([image, "/bin/sleep", "3600"]);
        self.docker(&args).expect_code(0);
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let ids = self.docker(&["ps", "--all", "--quiet"]).stdout;
            let mut args = vec!["rm", "--force"];
            args.extend(ids.split_whitespace());
            if args.len() > 2 {
                self.docker(&args);
            }
            let pid = self.pid().to_string();
            let _ = Command::new("kill").arg(&pid).status();
            let deadline = Instant::now() + PATIENCE;
            while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() > deadline {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // What it left mounted would keep the folder.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.folder.path().to_str().unwrap_or("/nowhere");
        for at in mounts.lines().rev().filter_map(|l| l.split(' ').nth(4)) {
            if at.starts_with(own) {
                let _ = Command::new("umount").arg("-l").arg(at).status();
            }
        }
    }
}

/// The libraries that a program needs, by `ldd`; none of one that is static.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let told = Ran::of(Command::new("ldd").arg(program)).stdout;
    let paths = told.split_whitespace().filter(|word| word.starts_with('/'));
    paths
        .map(PathBuf::from)
        .filter(|path| path.is_file())
        .collect()
}
