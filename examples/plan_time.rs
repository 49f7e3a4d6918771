//! Times `cofferdam plan split` on a generated repository: 5,000 files, 300 of them secrets under one shared identity.
//!
//! Run: `cargo build --release && cargo run --release --example plan_time [FILES [SECRETS]]`. Prints the time of each of
//! three plans. Needs git.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use cofferdam::keys::Identity;
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use secrecy::ExposeSecret;

/// Hosts, each with stacks of its own.
const HOSTS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<usize>());
    let files = numbers.next().unwrap_or(Ok(5000))?;
    let secrets = numbers.next().unwrap_or(Ok(300))?;
    let folder = tempfile::tempdir()?;
    let repository = folder.path().join("repository");
    fs::create_dir(&repository)?;
    let shared = Identity::mint();
    let key_file = folder.path().join("keys.txt");
    private(
        &key_file,
        &format!("{}\n", shared.to_text().expose_secret()),
    )?;
    let text = fs::read_to_string(&key_file)?;
    for host in 0..HOSTS {
        let folder = folder
            .path()
            .join(format!("targets/host{host}/etc/sops/age"));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        private(&folder.join("keys.txt"), &text)?;
    }
    generate(&repository, files, secrets, &shared)?;
    for args in [&["init", "-q"][..], &["add", "-A"]] {
        run(Command::new("git").args(args).current_dir(&repository))?;
    }
    let binary = binary()?;
    for _ in 0..3 {
        let start = Instant::now();
        run(Command::new(&binary)
            .args(["plan", "split"])
            .current_dir(&repository)
            .env("SOPS_AGE_KEY_FILE", &key_file))?;
        println!(
            "cofferdam plan split: {files} files, {secrets} of them secrets, in {:.3} s",
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn generate(
    repository: &Path,
    files: usize,
    secrets: usize,
    shared: &Identity,
) -> Result<(), Box<dyn Error>> {
    let recipient = shared.recipient().ok_or("no recipient")?;
    let options = EncryptOptions {
        key_groups: vec![vec![recipient.clone()]],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: Store::Yaml,
        emit: EmitOptions::default(),
    };
    for i in 0..files {
        let folder = repository.join(format!("docker/stacks/host{}/stack{}", i % HOSTS, i / 200));
        fs::create_dir_all(&folder)?;
        if i < secrets {
            let mut plain = String::new();
            for key in 0..8 {
                plain.push_str(&format!("KEY_{key}: value-{i}-{key}-0123456789abcdef\n"));
            }
            let document = encrypt(Store::Yaml, plain.as_bytes(), &options)?;
            fs::write(folder.join(format!("{i}.sops.yaml")), document.bytes)?;
        } else {
            let mut text = format!("services:\n  app{i}:\n    image: registry.example/app:{i}\n");
            for line in 0..30 {
                text.push_str(&format!(
                    "    label{line}: some text of a compose file {i}\n"
                ));
            }
            fs::write(folder.join(format!("compose{i}.yaml")), text)?;
        }
    }
    fs::write(
        repository.join(".sops.yaml"),
        format!("creation_rules:\n  - path_regex: .*.yaml\n    age: {recipient}\n"),
    )?;
    let operator = Identity::mint().recipient().ok_or("no recipient")?;
    let recovery = Identity::mint().recipient().ok_or("no recipient")?;
    let mut topology = format!(
        "version = 1\n[recovery]\nrecipients = [\"{recovery}\"]\n[operators.laptop]\nrecipients = [\"{operator}\"]\n"
    );
    for host in 0..HOSTS {
        topology.push_str(&format!(
            "[zones.zone{host}]\nfiles = [{{ paths = [\"docker/stacks/host{host}/**/*.sops.{{env,yaml}}\"] }}]\n[hosts.host{host}]\nzone = \"zone{host}\"\nlocal = \"../targets/host{host}\"\nidentity_file = \"/etc/sops/age/keys.txt\"\n"
        ));
    }
    fs::write(repository.join("cofferdam.toml"), topology)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.stdout(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} failed").into())
    }
}

fn private(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o400))
}

/// The command beside this example.
fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no folder")?;
    Ok(folder.join("cofferdam"))
}
