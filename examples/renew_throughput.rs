//! Times `cofferdam renew` against `sops rotate` run two at a time, on generated three-recipient documents.
//!
//! Run: `cargo build --release && cargo run --release --example renew_throughput [DOCUMENTS]`. Prints both times and the
//! ratio. Without sops on PATH it prints our time alone.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "edge: a program that measures programs"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cofferdam::keys::{Identity, Recipient};
use cofferdam::sops::{EmitOptions, EncryptOptions, Selection, Store, encrypt};
use secrecy::ExposeSecret;

fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1000), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let identities: Vec<Identity> = (0..3).map(|_| Identity::mint()).collect();
    let recipients: Vec<Recipient> = identities.iter().filter_map(Identity::recipient).collect();
    let key_file = folder.path().join("keys.txt");
    fs::write(
        &key_file,
        format!("{}\n", identities[0].to_text().expose_secret()),
    )?;
    private(&key_file)?;

    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    for at in [&ours, &theirs] {
        fs::create_dir(at)?;
        generate(at, count, &recipients)?;
    }
    let binary = binary()?;
    // What was generated must not be written to disk on the clock of whoever syncs first.
    rustix::fs::sync();
    let mine = time(|| {
        let status = Command::new(&binary)
            .arg("renew")
            .arg(&ours)
            .env("SOPS_AGE_KEY_FILE", &key_file)
            .stdout(Stdio::null())
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err("cofferdam renew failed".into())
        }
    })?;
    print("cofferdam renew", count, mine);
    if Command::new("sops")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("skipped: sops is not on PATH");
        return Ok(());
    }
    rustix::fs::sync();
    let sops = time(|| rotate(&theirs, &key_file))?;
    print("sops rotate, two at a time", count, sops);
    println!("ratio: {:.1}", sops.as_secs_f64() / mine.as_secs_f64());
    Ok(())
}

fn print(what: &str, count: usize, time: Duration) {
    let each = time.as_secs_f64() * 1e3 / count as f64;
    println!(
        "{what}: {count} documents in {:.3} s, {each:.2} ms each",
        time.as_secs_f64()
    );
}

fn time(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

/// The command beside this example.
fn binary() -> Result<PathBuf, Box<dyn Error>> {
    let example = std::env::current_exe()?;
    let folder = example.parent().and_then(Path::parent).ok_or("no folder")?;
    Ok(folder.join("cofferdam"))
}

fn generate(folder: &Path, count: usize, recipients: &[Recipient]) -> Result<(), Box<dyn Error>> {
    let options = EncryptOptions {
        key_groups: vec![recipients.to_vec()],
        threshold: None,
        selection: Selection::default(),
        mac_only_encrypted: false,
        now: jiff::Timestamp::now(),
        output: Store::Yaml,
        emit: EmitOptions::default(),
    };
    for i in 0..count {
        let mut plain = String::from("apiVersion: v1\nkind: Secret\nstringData:\n");
        for key in 0..8 {
            plain.push_str(&format!(
                "    KEY_{key}: value-{i}-{key}-0123456789abcdef\n"
            ));
        }
        let document = encrypt(Store::Yaml, plain.as_bytes(), &options)?;
        fs::write(folder.join(format!("secret-{i}.yaml")), document.bytes)?;
    }
    Ok(())
}

/// Two workers that take the next file until none is left.
fn rotate(folder: &Path, key_file: &Path) -> Result<(), Box<dyn Error>> {
    let files = fs::read_dir(folder)?
        .map(|e| Ok(e?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    let files = Mutex::new(files);
    let work = || -> Result<(), String> {
        loop {
            let next = files.lock().map_err(|e| e.to_string())?.pop();
            let Some(file) = next else { return Ok(()) };
            let status = Command::new("sops")
                .args(["rotate", "-i"])
                .arg(file)
                .env("SOPS_AGE_KEY_FILE", key_file)
                .status()
                .map_err(|e| e.to_string())?;
            if !status.success() {
                return Err("sops rotate failed".to_owned());
            }
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work()?;
        other
            .join()
            .unwrap_or_else(|_| Err("a worker died".to_owned()))
    })?;
    Ok(())
}

#[cfg(unix)]
fn private(path: &Path) -> Result<(), Box<dyn Error>> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o600),
    )?)
}
