//! The units of `runbooks/schedule/`: they are what they claim to be, and the commands in them do what their page says.

use std::path::{Path, PathBuf};

use crate::support::Sandbox;
use crate::support::ground::Ground;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/schedule")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// The value of every `key = value` or `key=value` line of that key.
fn values(text: &str, key: &str) -> Vec<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    };
    text.lines().filter_map(value).collect()
}

/// A command line of ours without the program.
fn arguments(line: &str) -> Vec<&str> {
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("cofferdam"), "{line}");
    words.collect()
}

#[test]
fn the_page_names_every_file() {
    let page = read("README.md");
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name != "README.md");
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn what_the_timer_runs_does_what_the_page_says() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    let service = read("cofferdam-rotate.service");
    let commands = values(&service, "ExecStart");
    assert_eq!(commands.len(), 2);
    assert_eq!(values(&service, "SuccessExitStatus"), ["5"]);
    let run = |codes: [i32; 2], when: &str| {
        for (command, code) in commands.iter().zip(codes) {
            let ran = ground.run(&arguments(command));
            assert_eq!(ran.code, Some(code), "{when}: {command}\n{}", ran.stderr);
        }
        ground.expect_readable_by_hosts();
    };
    run([0, 0], "nothing is due");
    assert_eq!(ground.git(&["branch", "--format=%(refname:short)"]), "main");
    ground.age_the_zone("lan");
    run([0, 0], "one zone is due");
    let branch = "cofferdam/rotate-lan";
    assert_eq!(
        ground.git(&["branch", "--format=%(refname:short)"]),
        format!("{branch}\nmain")
    );
    run([5, 5], "it waits");
    ground.git(&["merge", "-q", "--squash", branch]);
    ground.git(&["commit", "-q", "-m", "rotate lan"]);
    run([0, 0], "it was merged");
    ground.run(&["status"]).expect_code(0);
    // The timer starts that service.
    let timer = read("cofferdam-rotate.timer");
    assert_eq!(values(&timer, "OnCalendar"), ["weekly"]);
}

#[test]
fn what_runs_without_an_identity_needs_none() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    ground.run(&["split", "--yes"]).expect_code(0);
    let actions: serde_yaml::Value = serde_yaml::from_str(&read("github-actions.yaml")).unwrap();
    let steps = actions["jobs"]["status"]["steps"].as_sequence().unwrap();
    let last = steps.last().unwrap()["run"].as_str().unwrap().to_owned();
    let cronjob: serde_yaml::Value = serde_yaml::from_str(&read("cronjob.yaml")).unwrap();
    assert_eq!(cronjob["kind"], "CronJob");
    let pod = &cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let words = pod["containers"][0]["command"].as_sequence().unwrap();
    let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[..2], ["cofferdam", "-C"]);
    let in_cluster = format!("cofferdam {}", words[3..].join(" "));
    for (line, due) in [(&last, false), (&in_cluster, false), (&last, true)] {
        if due {
            ground.age_the_zone("vps");
        }
        let mut command = ground.command(&arguments(line));
        command.env_remove("SOPS_AGE_KEY_FILE");
        let ran = crate::support::Ran::of(&mut command);
        assert_eq!(
            ran.code,
            Some(if due { 3 } else { 0 }),
            "{line}: {}",
            ran.stderr
        );
    }
}

#[test]
fn the_procedure_is_one() {
    let text = read("komodo-procedure.toml");
    let document: toml_edit::DocumentMut = text.parse().unwrap();
    let procedure = document["procedure"].as_array_of_tables().unwrap();
    let stages = procedure.get(0).unwrap()["config"]["stage"]
        .as_array_of_tables()
        .unwrap();
    assert_eq!(stages.len(), 3);
    for stage in stages {
        for execution in stage["executions"].as_array().unwrap() {
            let execution = execution.as_inline_table().unwrap()["execution"].as_inline_table();
            let kind = execution.unwrap()["type"].as_str().unwrap();
            assert!(
                matches!(kind, "BatchPullRepo" | "BatchDeployStack"),
                "{kind}"
            );
        }
    }
}
