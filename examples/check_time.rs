//! Times `cofferdam check` on a generated repository: 5,000 files, 300 of them secrets, among compose files, manifests and
//! stacks.
//!
//! Run: `cargo build --release && cargo run --release --example check_time [FILES [SECRETS]]`. Prints the time of each check,
//! start to exit; fails if one takes a second. Needs git.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cofferdam::keys::Identity;
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Selector, Store, encrypt};

/// Hosts, each with stacks of its own.
const HOSTS: usize = 20;
/// What a check of 5,000 files may take.
const LIMIT: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<usize>());
    let files = numbers.next().unwrap_or(Ok(5000))?;
    let secrets = numbers.next().unwrap_or(Ok(300))?;
    let folder = tempfile::tempdir()?;
    let repository = folder.path();
    generate(repository, files, secrets)?;
    for args in [&["init", "-q"][..], &["add", "-A"]] {
        let mut git = Command::new("git");
        let status = git.args(args).current_dir(repository).status()?;
        if !status.success() {
            return Err("git failed".into());
        }
    }
    let binary = binary()?;
    let mut slowest = Duration::ZERO;
    for packs in [&[][..], &["--policy", "strict", "--policy", "homelab"]] {
        for _ in 0..3 {
            let start = Instant::now();
            let status = Command::new(&binary)
                .args(["check", "--json"])
                .args(packs)
                .current_dir(repository)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            let took = start.elapsed();
            // Findings there are: one identity opens everything.
            if status.code() != Some(3) {
                return Err(format!("check ended with {status}").into());
            }
            slowest = slowest.max(took);
            println!(
                "cofferdam check {}: {files} files, {secrets} of them secrets, in {:.3} s",
                packs.join(" "),
                took.as_secs_f64()
            );
        }
    }
    if files <= 5000 && slowest >= LIMIT {
        return Err(format!("the slowest took {:.3} s", slowest.as_secs_f64()).into());
    }
    Ok(())
}

fn generate(repository: &Path, files: usize, secrets: usize) -> Result<(), Box<dyn Error>> {
    let recipient = Identity::mint().recipient().ok_or("no recipient")?;
    let options = |store: Store, selection: Selection| EncryptOptions {
        key_groups: vec![vec![recipient.clone()]],
        threshold: None,
        selection,
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: store,
        emit: EmitOptions::default(),
    };
    let write = |path: String, text: &[u8]| -> std::io::Result<()> {
        let file = repository.join(path);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, text)
    };
    let mut stacks = String::new();
    for i in 0..secrets {
        let host = i % HOSTS;
        if i % 3 == 0 {
            let plain = format!(
                "apiVersion: v1\nkind: Secret\nmetadata:\n    name: app{i}\nstringData:\n    password: value-{i}\n    token: token-{i}\n"
            );
            let selection = Selection::new(Selector::EncryptedRegex, "^(data|stringData)$");
            let document = encrypt(
                Store::Yaml,
                plain.as_bytes(),
                &options(Store::Yaml, selection),
            )?;
            write(
                format!("kubernetes/apps/app{i}/secret.yaml"),
                &document.bytes,
            )?;
            continue;
        }
        let mut plain = String::new();
        for key in 0..8 {
            plain.push_str(&format!("KEY_{key}=value-{i}-{key}-0123456789abcdef\n"));
        }
        let options = options(Store::Dotenv, Selection::default());
        let document = encrypt(Store::Dotenv, plain.as_bytes(), &options)?;
        let folder = format!("docker/stacks/host{host}/app{i}");
        write(format!("{folder}/.sops.env"), &document.bytes)?;
        stacks.push_str(&format!(
            "[[stack]]\nname = \"app{i}\"\n[stack.config]\nserver_id = \"host{host}\"\nfile_paths = [\"{folder}/compose.yaml\"]\n"
        ));
    }
    write("komodo/stacks.toml".to_owned(), stacks.as_bytes())?;
    let rule = format!("creation_rules:\n  - path_regex: .*.yaml\n    age: {recipient}\n");
    write(".sops.yaml".to_owned(), rule.as_bytes())?;
    for i in 0..files.saturating_sub(secrets + 2) {
        let host = i % HOSTS;
        match i % 4 {
            0 | 1 => {
                let text = format!(
                    "services:\n  app{i}:\n    image: registry.example/app{i}:1.0\n    env_file: .env\n    ports: ['{}:80']\n    environment:\n      LEVEL: debug\n      URL: https://app{i}.example\n    labels:\n      - traefik.enable=true\n",
                    9000 + i % 1000
                );
                write(
                    format!("docker/stacks/host{host}/app{i}/compose.yaml"),
                    text.as_bytes(),
                )?;
            }
            2 => {
                let text = format!(
                    "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app{i}\nspec:\n  template:\n    spec:\n      containers:\n        - name: app\n          image: registry.example/app{i}:1.0\n"
                );
                write(
                    format!("kubernetes/apps/app{i}/deployment.yaml"),
                    text.as_bytes(),
                )?;
            }
            _ => {
                let text = "Some words about this app, as people write them.\n".repeat(20);
                write(format!("docs/app{i}/README.md"), text.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// The command beside this example.
fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no folder")?;
    Ok(folder.join("cofferdam"))
}
