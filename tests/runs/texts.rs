//! What people read, kept as files under `tests/snapshots/`: each command's help, a plan, what a split says.

use crate::support::homeops::Homeops;
use crate::support::snapshot::{expect_snapshot, masked};
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers};

/// The names of the commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn help_of_each_command() {
    let sandbox = Sandbox::new();
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let mut call = sandbox.command(COFFERDAM, sandbox.path());
        let help = Ran::of(call.args(&command).arg("--help"))
            .expect_code(0)
            .stdout;
        let name = command.join("_");
        let name = if name.is_empty() { "cofferdam" } else { &name };
        expect_snapshot(&format!("help/{name}"), &help);
        seen += 1;
        for sub in listed(&help) {
            let mut longer = command.clone();
            longer.push(sub);
            open.push(longer);
        }
    }
    assert!(seen > 8, "only {seen} commands found");
}

#[test]
fn plan_and_split_of_the_sample() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let plan = homeops.plan_split().expect_code(0);
    assert_eq!(plan.stderr, "");
    let longest = plan
        .stdout
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap();
    assert!(longest <= 80, "a line has {longest} characters");
    expect_snapshot("plan_split", &masked(&homeops, &plan.stdout));

    let ran = homeops.split().expect_code(0);
    assert_eq!(ran.stdout, "");
    let said = ran
        .stderr
        .strip_prefix(&plan.stdout)
        .expect("the plan comes first");
    expect_snapshot("split", &masked(&homeops, said));
    let again = homeops.split().expect_code(0);
    expect_snapshot("split_again", &masked(&homeops, &again.stderr));
    let quiet = homeops
        .cofferdam(&["--quiet", "split", "--yes"])
        .expect_code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_plan_as_json_names_every_recipient() {
    if !have_peers(&["git"]) {
        return;
    }
    let (homeops, recovery) = Homeops::prepared();
    let ran = homeops
        .cofferdam(&["plan", "split", "--json"])
        .expect_code(0);
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let documents = plan["documents"].as_array().unwrap();
    assert_eq!(documents.len(), 29);
    for document in documents {
        let path = document["path"].as_str().unwrap();
        let before = document["before"].as_array().unwrap();
        assert_eq!(before.len(), 1);
        assert_eq!(before[0]["recipient"], homeops.shared.as_str());
        assert_eq!(before[0]["role"], "retiring");
        let after = document["after"].as_array().unwrap();
        let (always, zones) = after
            .iter()
            .partition::<Vec<_>, _>(|party| party["role"] != "identity");
        let zones: Vec<&str> = zones
            .iter()
            .map(|party| party["name"].as_str().unwrap().split('-').next().unwrap())
            .collect();
        assert_eq!(zones, Homeops::zones_of(path), "{path}");
        assert_eq!(always[0]["name"], "laptop");
        assert_eq!(always[0]["recipient"], homeops.laptop.as_str());
        assert_eq!(always[1]["recipient"], recovery.as_str());
    }
}
