//! Containers that stopped because a file that they mount was missing: dockerd does not try those again.
#![expect(
    clippy::disallowed_methods,
    reason = "edge: asks docker, and where mounted files are"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::on_change::program;
use super::outcome::Outcome;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::exec::resident::Slot;

/// What is asked of each container. Not its environment: that may hold values.
const FORMAT: &str = r#"{"id":{{json .Id}},"name":{{json .Name}},"state":{{json .State}},"mounts":{{json .Mounts}},"binds":{{json .HostConfig.Binds}},"restart":{{json .HostConfig.RestartPolicy.Name}}}"#;

/// Names the containers that stopped for want of a file of these folders, and starts them if that is wanted.
pub fn look_after(outcome: &mut Outcome, start: bool, context: &Context) -> Vec<CliError> {
    // A unit that is run before docker must not wake it: it would wait for the unit.
    let may_ask =
        start || std::env::var_os("DOCKER_HOST").is_some() || Path::new("/run/docker.pid").exists();
    if !may_ask || outcome.folders.is_empty() {
        return Vec::new();
    }
    let stopped = match stopped(outcome.folders.iter().map(|(slot, _)| slot)) {
        Ok(stopped) => stopped,
        Err(error) if start => return vec![error],
        Err(_) => return Vec::new(),
    };
    let mut failed = Vec::new();
    for (id, name) in stopped {
        if start {
            let told = docker(&["start", &id]);
            failed.extend(told.as_ref().err().map(|error| {
                CliError::failed(format!("cannot start the container {name}")).caused_by(error)
            }));
            if told.is_ok() {
                context.ui.note(format!("started the container {name}"));
            }
            outcome.containers.push((name, told.is_ok()));
        } else {
            context.ui.warn(format!(
                "the container {name} stopped for want of a file that is there now; docker start {name}, or --start"
            ));
            outcome.containers.push((name, false));
        }
    }
    failed
}

/// Id and name of each.
fn stopped<'s>(slots: impl Iterator<Item = &'s Slot>) -> Result<Vec<(String, String)>, CliError> {
    let slots: Vec<&Slot> = slots.collect();
    let failed = |error: std::io::Error| {
        CliError::failed("cannot ask docker for its containers").caused_by(&error)
    };
    let all = [
        "ps",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter=status=exited",
        "--filter=status=created",
    ];
    let ids = docker(&all).map_err(failed)?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let format = format!("--format={FORMAT}");
    let mut inspect = vec!["inspect", "--type=container", format.as_str()];
    inspect.extend(&ids);
    // One that goes in between is no failure of the others.
    let told = docker(&inspect).map_err(failed)?;
    let containers = told
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(containers
        .filter(|container| missed_something(container) && mounts_one_of(container, &slots))
        .filter_map(|container| {
            let text = |key: &str| container[key].as_str().map(str::to_owned);
            Some((
                text("id")?,
                text("name")?.trim_start_matches('/').to_owned(),
            ))
        })
        .collect())
}

/// 127: the mount failed at a start. 255: the daemon found it dead when it came back. 128: it never ran.
fn missed_something(container: &Value) -> bool {
    let state = &container["state"];
    let code = state["ExitCode"].as_i64();
    let has_error = state["Error"].as_str().is_some_and(|text| !text.is_empty());
    let restarts = !matches!(container["restart"].as_str(), None | Some("" | "no"));
    restarts && (has_error || matches!(code, Some(127 | 128 | 255)))
}

fn mounts_one_of(container: &Value, slots: &[&Slot]) -> bool {
    let mounts = container["mounts"].as_array().into_iter().flatten();
    let sources = mounts.filter_map(|mount| mount["Source"].as_str());
    let binds = container["binds"].as_array().into_iter().flatten();
    let binds = binds.filter_map(|bind| bind.as_str()?.split(':').next());
    sources.chain(binds).any(|source| {
        let source = Path::new(source);
        slots.iter().any(|slot| {
            let links: Vec<PathBuf> = slot.links();
            source.starts_with(slot.path())
                || slot.path().starts_with(source)
                || links.iter().any(|link| link == source)
                || std::fs::canonicalize(source).is_ok_and(|real| real.starts_with(slot.path()))
        })
    })
}

fn docker(args: &[&str]) -> std::io::Result<String> {
    let words: Vec<String> = ["docker"]
        .iter()
        .chain(args)
        .map(|&w| w.to_owned())
        .collect();
    let told = program(&words).stdin(Stdio::null()).output()?;
    if told.status.success() {
        return Ok(String::from_utf8_lossy(&told.stdout).into_owned());
    }
    Err(std::io::Error::other(
        String::from_utf8_lossy(&told.stderr).trim().to_owned(),
    ))
}
