//! `cofferdam exec` around a real `docker compose config`: what it prints holds no value, and machines can still read it.

#![cfg(target_os = "linux")]

use crate::support::runtime::Bed;
use crate::support::{Ran, have_peers};
use serde_json::Value;

const COMPOSE: &str = "services:
  app:
    image: registry.example/app:${APP_VERSION}
    container_name: app
    env_file: .env
    environment:
      - WITHIN=postgres://user:${PASSWORD}@db/x
      - PIN
      - PLAIN=nothing secret
    labels:
      note: \"v=${PASSWORD}\"
    command: [\"run\", \"--password=${PASSWORD}\", \"${NUMBER}\"]
    healthcheck:
      test: \"curl -u a:${PASSWORD} http://x\"
    deploy:
      replicas: 1
";

const SECRETS: &str = "APP_VERSION=1.2.3-of-today\nPASSWORD=\"s3cr3t-va$lueOfItAll with 'quotes' # x\"\nPIN=4711\nNUMBER=123456789012\n\
                       LONG=aaaa bbbb cccc dddd eeee ffff gggg hhhh iiii jjjj kkkk llll mmmm nnnn oooo pppp qqqq rrrr ssss tttt\n";

/// Parts of values as compose prints them; none is in the compose file itself.
const PARTS: [&str; 7] = [
    "s3cr3t-va",
    "lueOfItAll",
    "'quotes'",
    "4711",
    "123456789012",
    "aaaa bbbb",
    "ssss tttt",
];

fn bed() -> Option<Bed> {
    if !have_peers(&["docker-compose"]) {
        return None;
    }
    let bed = Bed::new()?;
    bed.stack.write(".sops.env", SECRETS);
    bed.write_plain("compose.yaml", COMPOSE);
    Some(bed)
}

fn config(bed: &Bed, ours: &[&str], theirs: &[&str]) -> Ran {
    let mut command = bed.exec(ours);
    command
        .args(["--state", "state", "--dir", "stack", "--"])
        .args(["docker-compose", "-p", "s", "-f", "stack/compose.yaml"])
        .args(theirs);
    Ran::of(command.current_dir(bed.stack.sandbox.path()))
}

#[track_caller]
fn expect_no_value(text: &str) {
    for part in PARTS {
        assert!(!text.contains(part), "{part} in\n{text}");
    }
}

fn paths(value: &Value, at: &str, to: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            for (key, item) in entries {
                paths(item, &format!("{at}/{key}"), to);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| paths(item, &format!("{at}/-"), to)),
        _ => to.push(at.to_owned()),
    }
}

#[test]
fn a_project_is_printed_without_values() {
    let Some(bed) = bed() else { return };
    for json in [false, true] {
        let words: &[&str] = if json {
            &["config", "--format", "json"]
        } else {
            &["config"]
        };
        let read = |text: &str| -> Value {
            if json {
                serde_json::from_str(text).unwrap()
            } else {
                serde_yaml::from_str(text).unwrap()
            }
        };
        let plain = config(&bed, &["--no-mask"], words).expect_code(0);
        let plain = read(&plain.stdout);
        assert_eq!(plain["services"]["app"]["environment"]["PIN"], "4711");
        let ran = config(&bed, &[], words).expect_code(0);
        expect_no_value(&ran.stdout);
        expect_no_value(&ran.stderr);
        assert!(
            ran.stderr
                .contains("a value stands in `image` of the service app"),
            "{}",
            ran.stderr
        );
        let project = read(&ran.stdout);
        let (mut all, mut left) = (Vec::new(), Vec::new());
        paths(&plain, "", &mut all);
        paths(&project, "", &mut left);
        assert_eq!(left, all);
        let app = &project["services"]["app"];
        assert_eq!(app["image"], "registry.example/app:1.2.3-of-today");
        assert_eq!(app["container_name"], "app");
        assert_eq!(app["deploy"], plain["services"]["app"]["deploy"]);
        for name in ["APP_VERSION", "PASSWORD", "PIN", "NUMBER", "LONG"] {
            assert_eq!(app["environment"][name], "[masked]", "{name}");
        }
        assert_eq!(app["environment"]["PLAIN"], "nothing secret");
        let within = app["environment"]["WITHIN"].as_str().unwrap();
        assert!(within.starts_with("postgres://user:[masked]"), "{within}");
        assert!(within.ends_with("@db/x"), "{within}");
    }
    assert!(!bed.stack.folder().join(".env").is_symlink());
}

#[test]
fn an_environment_is_printed_without_values() {
    let Some(bed) = bed() else { return };
    let ran = config(&bed, &["--env", "--files"], &["config", "--environment"]).expect_code(0);
    expect_no_value(&ran.stdout);
    expect_no_value(&ran.stderr);
    for line in [
        "PIN=[masked]",
        "PASSWORD=[masked]",
        "APP_VERSION=[masked]",
        "COMPOSE_PROJECT_NAME=s",
    ] {
        assert!(
            ran.stdout.lines().any(|l| l == line),
            "{line}\n{}",
            ran.stdout
        );
    }
}

#[test]
fn what_is_not_scrubbed_is_masked_or_refused() {
    let Some(bed) = bed() else { return };
    let ran = config(&bed, &[], &["config", "--images"]).expect_code(0);
    assert_eq!(ran.stdout, "registry.example/app:[masked]\n");
    for flag in [&["-o", "out.yaml"][..], &["--output=out.yaml"]] {
        let ran = config(&bed, &[], &[&["config"], flag].concat()).expect_code(125);
        assert!(ran.stderr.contains("to a file"), "{}", ran.stderr);
    }
    assert!(!bed.stack.sandbox.path().join("out.yaml").exists());
    // A project that compose refuses: its own code, nothing printed, no part of a value in what it says.
    std::fs::write(
        bed.stack.folder().join("compose.yaml"),
        "services: {app: {image: \"${PASSWORD:?}\", x: [}}\n",
    )
    .unwrap();
    let ran = config(&bed, &[], &["config"]);
    assert!(
        ran.code.is_some_and(|code| code != 0 && code < 125),
        "{ran:?}"
    );
    assert_eq!(ran.stdout, "");
    expect_no_value(&ran.stderr);
}
