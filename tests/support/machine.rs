//! A machine of its own for a server: `/etc`, `/root` and `/home` are folders of the test, in a mount namespace, and with them
//! come accounts, one of them without rights but `sudo`. Where namespaces are not allowed, paths lead to the same folders, root
//! logs in as everybody, and a stand-in for `sudo` is called.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test may fail where it stands"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What programs need below `/etc`; what there is of it is copied.
const FROM_ETC: [&str; 8] = [
    "passwd",
    "group",
    "shadow",
    "nsswitch.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "alternatives",
];

#[derive(Debug)]
pub struct Machine {
    /// What stands for its disk.
    pub disk: PathBuf,
    /// Whether it has a namespace.
    pub is_real: bool,
}

impl Machine {
    /// Makes its disk.
    pub fn new(disk: &Path) -> Self {
        for folder in ["etc/sshd", "etc/pam.d", "root", "home/ops"] {
            std::fs::create_dir_all(disk.join(folder)).unwrap();
        }
        let etc = disk.join("etc");
        for name in FROM_ETC {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(Path::new("/etc").join(name))
                .arg(&etc)
                .stderr(Stdio::null())
                .status();
            assert!(copied.is_ok(), "cp");
        }
        for (name, line) in [
            ("passwd", "ops:x:4000:4000::/home/ops:/bin/sh\n"),
            ("group", "ops:x:4000:\n"),
            ("shadow", "ops:*:19000:0:99999:7:::\n"),
        ] {
            let mut text = std::fs::read_to_string(etc.join(name)).unwrap();
            text.push_str(line);
            std::fs::write(etc.join(name), text).unwrap();
        }
        let pam =
            ["auth", "account", "session"].map(|kind| format!("{kind} required pam_permit.so\n"));
        std::fs::write(etc.join("pam.d/sudo"), pam.concat()).unwrap();
        let sudoers = etc.join("sudoers");
        std::fs::write(&sudoers, "ops ALL=(root) NOPASSWD: ALL\n").unwrap();
        std::fs::set_permissions(&sudoers, PermissionsExt::from_mode(0o440)).unwrap();
        std::os::unix::fs::chown(disk.join("home/ops"), Some(4000), Some(4000)).unwrap();
        let machine = Self {
            disk: disk.to_owned(),
            is_real: can_be_real(),
        };
        if !machine.is_real {
            machine.put_stand_ins();
        }
        machine
    }

    /// A path of its own as the server sees it.
    pub fn path(&self, path: &str) -> String {
        if self.is_real {
            path.to_owned()
        } else {
            format!("{}{path}", self.disk.display())
        }
    }

    /// A command there; its process is the program's own.
    pub fn command(&self, program: &str) -> Command {
        if !self.is_real {
            return Command::new(program);
        }
        let mounts = ["etc", "root", "home"]
            .map(|name| format!("mount --bind \"$0/{name}\" /{name} && "))
            .concat();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(format!("{mounts} exec \"$@\""))
            .arg(&self.disk)
            .arg(program);
        command
    }

    /// PATH with the stand-ins first.
    pub fn stand_in_path(&self) -> String {
        let bin = self.disk.join("bin");
        format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display())
    }

    fn put_stand_ins(&self) {
        let bin = self.disk.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let name = self.disk.join("etc/login");
        for (program, text) in [
            ("sudo", "[ \"$1\" = -n ] && shift && exec \"$@\"".to_owned()),
            // Who it is said to be: a host that is to need sudo has the file.
            (
                "id",
                format!(
                    "if [ -e '{}' ]; then echo 4000; else echo 0; fi",
                    name.display()
                ),
            ),
        ] {
            std::fs::write(bin.join(program), format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(bin.join(program), PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    /// The login that is to need sudo, as an address has it.
    pub fn login_without_rights(&self) -> &'static str {
        if self.is_real {
            return "ops";
        }
        std::fs::write(self.disk.join("etc/login"), "").unwrap();
        "root"
    }
}

/// Whether namespaces with mounts are allowed here, and `sudo` is there for what logs in to them.
#[must_use]
pub fn can_be_real() -> bool {
    static REAL: OnceLock<bool> = OnceLock::new();
    *REAL.get_or_init(|| {
        let allowed = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "mount",
                "-t",
                "tmpfs",
                "none",
                "/mnt",
            ])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let has_sudo = Path::new("/usr/bin/sudo").is_file();
        if !allowed {
            println!("skipped: machines with a disk of their own, mounts are not allowed here");
        } else if !has_sudo {
            let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|v| v == "1");
            assert!(!required, "no /usr/bin/sudo");
            println!("skipped: no /usr/bin/sudo");
        }
        allowed && has_sudo
    })
}
