//! `cofferdam demo`: the main job on a sample repository, in a temporary folder, by the commands that a user would type.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: builds a sample on disk and runs git and this program on it"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use secrecy::ExposeSecret;

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::ui::Tone;
use crate::keys::key_file::KeyFile;
use crate::keys::{Identity, IdentitySet};
use crate::repo::atomic_write::{self, Mode};
use crate::repo::git::Git;
use crate::repo::scan::Scan;
use crate::report::table::Table;
use crate::sops::document::Document;

/// The sample: a git repository whose 29 secrets real sops wrote under one shared, throwaway identity.
const BUNDLE: &[u8] = include_bytes!("../../tests/fixtures/homeops/homeops.bundle");
const SHARED_KEY: &[u8] = include_bytes!("../../tests/fixtures/homeops/shared-key.txt");

const HOSTS: [&str; 7] = [
    "kasm",
    "komodo",
    "nvr",
    "omni",
    "server04",
    "storage",
    "racknerd-aegis",
];
const HOST_KEY: &str = "etc/sops/age/keys.txt";
const CLUSTER_KEY: &str = "minipcs/flux-system/sops-age/age.agekey";

/// Split a sample repository across seven directory hosts and a directory cluster, narrated; touches nothing of yours.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Work in DIR, which must not exist yet, instead of a temporary folder.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// No git; a step that failed, with its output above.
pub fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let folder = make_folder(args, context)?;
    let stage = Stage { folder, context };
    let title = |text: &str| context.ui.note(format!("\n{}", Tone::Bold.paint(text)));

    title("The sample: a homelab in git, 29 secrets, one age identity everywhere");
    stage.build()?;
    let repo = stage.folder.join("homeops");
    stage.note(&format!("folder   {}", stage.folder.display()));
    stage.note("hosts    seven folders, each with the shared identity in etc/sops/age/keys.txt");
    stage.note("cluster  a folder with the shared identity as a Flux Secret's entry");
    context.ui.note("");
    context.ui.answer(proof(
        &stage,
        &repo,
        "before: who opens how many documents",
    )?);

    title("1  An offline recovery identity");
    let recovery = stage.cofferdam(&["recovery", "create", "--out", "../recovery.txt"])?;
    title("2  The topology, proposed from Komodo, compose, Flux and folder names");
    let operator = format!("laptop={}", stage.operator()?);
    stage.cofferdam(&[
        "init",
        "--yes",
        "--recovery",
        recovery.trim(),
        "--operator",
        &operator,
        "--local-root",
        "../targets",
    ])?;
    title("3  The plan, confirmed and applied");
    stage.cofferdam(&["split", "--yes"])?;
    title("4  Afterwards");
    context
        .ui
        .answer(proof(&stage, &repo, "after: who opens how many documents")?);
    context.ui.note(format!(
        "\nLook around (plain sops and age open everything here):\n  cd {}\n  git log --stat -2; cat cofferdam.toml .sops.yaml; cofferdam status\nRemove it: rm -r {}",
        repo.display(),
        stage.folder.display()
    ));
    Ok(())
}

struct Stage<'a> {
    folder: PathBuf,
    context: &'a Context,
}

fn make_folder(args: &Args, context: &Context) -> Result<PathBuf, CliError> {
    let folder = match &args.dir {
        Some(dir) => context.resolve(dir),
        None => {
            let salt = rand::RngCore::next_u64(&mut rand::rngs::OsRng);
            std::env::temp_dir().join(format!("cofferdam-demo-{salt:016x}"))
        }
    };
    if folder.exists() {
        return Err(CliError::usage(format!(
            "{} exists already",
            folder.display()
        )));
    }
    atomic_write::create_folder(&folder, 0o700)?;
    Ok(folder)
}

impl Stage<'_> {
    /// Clones the sample, makes the targets and the operator's key file.
    fn build(&self) -> Result<(), CliError> {
        let bundle = self.folder.join("homeops.bundle");
        atomic_write::create_new(&bundle, BUNDLE, Mode::Exact(0o600))?;
        self.git(&["clone", "-q", "homeops.bundle", "homeops"], &self.folder)?;
        atomic_write::remove(&bundle)?;
        let repo = self.folder.join("homeops");
        self.git(&["remote", "remove", "origin"], &repo)?;
        self.git(&["config", "user.name", "demo"], &repo)?;
        self.git(&["config", "user.email", "demo@home.example"], &repo)?;
        for host in HOSTS {
            self.put_shared(&format!("targets/{host}/{HOST_KEY}"))?;
        }
        self.put_shared(&format!("targets/{CLUSTER_KEY}"))?;
        let laptop = Identity::mint();
        let text = zeroize::Zeroizing::new(format!("{}\n", laptop.to_text().expose_secret()));
        let own = Mode::Exact(0o600);
        atomic_write::create_new(&self.folder.join("laptop.txt"), text.as_bytes(), own)?;
        let both = zeroize::Zeroizing::new([SHARED_KEY, text.as_bytes()].concat());
        atomic_write::create_new(&self.folder.join("keys.txt"), &both, own)?;
        Ok(())
    }

    fn put_shared(&self, path: &str) -> Result<(), CliError> {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            atomic_write::create_folder(parent, 0o700)?;
        }
        atomic_write::create_new(&path, SHARED_KEY, Mode::Exact(0o400))?;
        Ok(())
    }

    fn operator(&self) -> Result<String, CliError> {
        let identities = read_identities(&self.folder.join("laptop.txt"))?;
        let recipient = identities.recipients().into_iter().next();
        recipient
            .map(|r| r.to_string())
            .ok_or_else(|| CliError::failed("the demo's operator has no identity"))
    }

    fn git(&self, args: &[&str], folder: &Path) -> Result<(), CliError> {
        let output = Command::new("git")
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| {
                CliError::failed("cannot run git")
                    .caused_by(&e)
                    .hint("install git")
            })?;
        if output.status.success() {
            return Ok(());
        }
        Err(CliError::failed(format!(
            "git {} failed: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }

    /// Runs this same program as a user would, with nothing of the user's own identities in reach.
    fn cofferdam(&self, args: &[&str]) -> Result<String, CliError> {
        let shown: Vec<String> = args.iter().map(|a| shorten(a)).collect();
        self.context
            .ui
            .note(Tone::Dim.paint(format!("$ cofferdam {}", shown.join(" "))));
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(args)
            .current_dir(self.folder.join("homeops"))
            .env("SOPS_AGE_KEY_FILE", "../keys.txt")
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        for name in [
            "XDG_CONFIG_HOME",
            "SOPS_AGE_KEY",
            "SOPS_AGE_KEY_CMD",
            "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
            "SOPS_AGE_SSH_PRIVATE_KEY_CMD",
        ] {
            command.env_remove(name);
        }
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(CliError::failed(format!(
            "cofferdam {} failed",
            args.join(" ")
        )))
    }

    fn note(&self, text: &str) {
        self.context.ui.note(format!("  {text}"));
    }
}

/// Long recipients make a narration unreadable.
fn shorten(argument: &str) -> String {
    match argument.find("age1") {
        Some(at) if argument.len() > at + 20 => format!("{}…", &argument[..at + 12]),
        _ => argument.to_owned(),
    }
}

fn read_identities(path: &Path) -> Result<IdentitySet, CliError> {
    let text = zeroize::Zeroizing::new(std::fs::read(path)?);
    Ok(IdentitySet::new(KeyFile::parse(&text)?.identities()))
}

/// Opens every document with every identity, as found where it is kept, and counts.
fn proof(stage: &Stage<'_>, repo: &Path, title: &str) -> Result<String, CliError> {
    let scan = Scan::of_repository(&Git::discover(repo)?)?;
    let mut groups: BTreeMap<&str, Vec<Document>> = BTreeMap::new();
    for found in scan.documents {
        let group = group_of(found.path.as_str());
        let document = Document::parse(found.store, found.source)?;
        groups.entry(group).or_default().push(document);
    }
    let mut table = Table::new(2);
    let mut head = vec![title.to_owned()];
    head.extend(
        groups
            .iter()
            .map(|(name, all)| format!("{name} ({})", all.len())),
    );
    table.row(head);
    for (holder, identities) in holders(stage)? {
        let mut row = vec![holder];
        for documents in groups.values() {
            let opened = documents
                .iter()
                .filter(|d| d.open_with(&identities).is_ok());
            row.push(match opened.count() {
                0 => "–".to_owned(),
                n => n.to_string(),
            });
        }
        table.row(row);
    }
    Ok(table.render().trim_end().to_owned())
}

/// Everybody who holds an identity, with what was found there.
fn holders(stage: &Stage<'_>) -> Result<Vec<(String, IdentitySet)>, CliError> {
    let mut holders = Vec::new();
    for host in HOSTS {
        let path = stage.folder.join("targets").join(host).join(HOST_KEY);
        holders.push((format!("host {host}"), read_identities(&path)?));
    }
    let mut cluster = IdentitySet::default();
    let entry = stage.folder.join("targets").join(CLUSTER_KEY);
    if let Some(secret) = entry.parent() {
        for file in std::fs::read_dir(secret)? {
            cluster.extend(read_identities(&file?.path())?);
        }
    }
    holders.push(("cluster minipcs".to_owned(), cluster));
    for (name, file) in [
        ("operator laptop", "laptop.txt"),
        ("recovery", "recovery.txt"),
    ] {
        let path = stage.folder.join(file);
        if path.exists() {
            holders.push((name.to_owned(), read_identities(&path)?));
        }
    }
    let shared = IdentitySet::new(KeyFile::parse(SHARED_KEY)?.identities());
    holders.push(("the old shared identity".to_owned(), shared));
    Ok(holders)
}

fn group_of(path: &str) -> &'static str {
    if path.starts_with("kubernetes/") {
        "kubernetes"
    } else if path.starts_with("proxmox/") {
        "proxmox"
    } else if path.starts_with("docker/stacks/shared/") {
        "shared"
    } else if path.starts_with("docker/stacks/racknerd-aegis/") {
        "vps"
    } else {
        "lan"
    }
}
