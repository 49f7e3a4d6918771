//! What becomes of stacks, text for text.

use super::*;

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn migrate(text: &str, documents: &[&str]) -> Migrated {
    let documents = documents.iter().map(|d| path(d)).collect();
    migrated(&path("komodo/stacks.toml"), text, &documents).unwrap()
}

const BEFORE: &str = r#"# Komodo stacks of server04
[[stack]]
name = "vaultwarden" # passwords
[stack.config]
server_id = "server04"
file_paths = ["docker/stacks/server04/vaultwarden/compose.yaml"]
# environment must stay unset
# decrypts into the stack's folder
[stack.config.pre_deploy]
path = "docker/stacks/server04/vaultwarden"
command = "sops-decrypt.sh"

[[stack]]
name = "plain"
[stack.config]
server_id = "server04"
"#;

const AFTER: &str = r#"# Komodo stacks of server04
[[stack]]
name = "vaultwarden" # passwords
[stack.config]
server_id = "server04"
file_paths = ["docker/stacks/server04/vaultwarden/compose.yaml"]
# environment must stay unset
# decrypts into the stack's folder
compose_cmd_wrapper = "cofferdam exec --dir docker/stacks/server04/vaultwarden -- [[COMPOSE_COMMAND]]"
compose_cmd_wrapper_include = ["config", "build", "pull", "up", "run"]
config_files = [
  { path = "docker/stacks/server04/vaultwarden/.sops.env", requires = "Redeploy" },
  { path = "docker/stacks/server04/vaultwarden/backup.sops.env", requires = "Redeploy" },
]

[[stack]]
name = "plain"
[stack.config]
server_id = "server04"
"#;

#[test]
fn the_script_gives_way_to_the_wrapper_and_nothing_else_changes() {
    let documents = [
        "docker/stacks/server04/vaultwarden/.sops.env",
        "docker/stacks/server04/vaultwarden/backup.sops.env",
        "docker/stacks/server04/vaultwarden/below/.sops.env",
        "docker/stacks/server04/traefik/.sops.env",
    ];
    let done = migrate(BEFORE, &documents);
    assert_eq!(done.text, AFTER);
    assert_eq!(done.stacks.len(), 1);
    let stack = &done.stacks[0];
    assert_eq!((stack.name.as_str(), stack.line), ("vaultwarden", 2));
    assert_eq!(stack.leaks.len(), 3);
    assert_eq!(stack.left, None);
    // Done is done.
    let again = migrate(&done.text, &documents);
    assert_eq!(again.text, done.text);
    assert_eq!(again.stacks.len(), 1);
    assert_eq!(again.stacks[0].leaks, []);
    // A document that came later is watched as well.
    let mut more = documents.to_vec();
    more.push("docker/stacks/server04/vaultwarden/smtp.sops.env");
    let later = migrate(&done.text, &more);
    assert_eq!(later.stacks[0].leaks.len(), 1);
    assert!(later.text.contains("  { path = \"docker/stacks/server04/vaultwarden/smtp.sops.env\", requires = \"Redeploy\" },\n]"));
}

#[test]
fn paths_are_relative_to_the_run_directory() {
    let text = "[[stack]]\nname = \"a\"\nconfig = { server = \"h\", run_directory = \"s/a\", pre_deploy = { command = \"sops-decrypt.sh\" } }\n";
    let done = migrate(text, &["s/a/.sops.env", "s/a/x/.sops.env"]);
    assert!(
        done.text
            .contains("cofferdam exec --dir . -- [[COMPOSE_COMMAND]]"),
        "{}",
        done.text
    );
    assert!(done.text.contains("path = \".sops.env\""), "{}", done.text);
    assert!(!done.text.contains("pre_deploy"), "{}", done.text);
    done.text.parse::<DocumentMut>().unwrap();
}

#[test]
fn other_lines_of_pre_deploy_stay() {
    let text = "[[stack]]\nname = \"a\"\n[stack.config.pre_deploy]\npath = \"s\"\ncommand = \"\"\"\n# first\n./fetch.sh\n/usr/local/bin/sops-decrypt.sh\n\"\"\"\n";
    let done = migrate(text, &["s/.sops.env"]);
    let document: DocumentMut = done.text.parse().unwrap();
    let config = document["stack"]
        .as_array_of_tables()
        .unwrap()
        .get(0)
        .unwrap()["config"]
        .clone();
    assert_eq!(config["pre_deploy"]["command"].as_str(), Some("./fetch.sh"));
    assert_eq!(config["pre_deploy"]["path"].as_str(), Some("s"));
    assert!(
        config["compose_cmd_wrapper"]
            .as_str()
            .unwrap()
            .contains("--dir s ")
    );
}

#[test]
fn what_a_person_has_to_decide_is_left_and_told() {
    let stack = |config: &str| format!("[[stack]]\nname = \"a\"\n[stack.config]\n{config}");
    for (config, why) in [
        (
            "compose_cmd_wrapper = \"op run -- [[COMPOSE_COMMAND]]\"\n[stack.config.pre_deploy]\npath = \"s\"\ncommand = \"sops-decrypt.sh\"\n",
            "has a compose_cmd_wrapper already",
        ),
        (
            "[stack.config.pre_deploy]\npath = \"s\"\ncommand = \"sops -d a.sops.env > .env\"\n",
            "is more than sops-decrypt.sh",
        ),
        (
            "[stack.config.pre_deploy]\npath = \"s x\"\ncommand = \"sops-decrypt.sh\"\n",
            "characters that a shell may read otherwise",
        ),
    ] {
        let text = stack(config);
        let done = migrate(&text, &["s/.sops.env"]);
        assert_eq!(done.text, text);
        let left = done.stacks[0].left.as_deref().unwrap();
        assert!(left.contains(why), "{left}");
        assert!(!done.stacks[0].leaks.is_empty());
    }
    // `config` is wrapped where it was forgotten.
    let text = stack(
        "compose_cmd_wrapper = \"cofferdam exec --dir s -- [[COMPOSE_COMMAND]]\"\nconfig_files = [{ path = \"s/.sops.env\", requires = \"Restart\" }]\n",
    );
    let done = migrate(&text, &["s/.sops.env"]);
    assert_eq!(done.stacks[0].leaks, [Leak::ConfigNotWrapped]);
    assert!(
        done.text
            .contains("compose_cmd_wrapper_include = [\"config\"")
    );
}

#[test]
fn files_that_are_no_toml_and_stacks_without_secrets() {
    let error = migrated(&path("k.toml"), "[[stack]\n", &BTreeSet::new()).unwrap_err();
    assert_eq!(error.to_string(), "k.toml is not TOML");
    let text = "[[stack]]\nname = \"a\"\n[stack.config.pre_deploy]\ncommand = \"./fetch.sh\"\n";
    assert_eq!(migrate(text, &["s/.sops.env"]).stacks, []);
    assert_eq!(migrate("x = 1\n", &[]).stacks, []);
}

#[test]
fn line_breaks_stay_as_they_are() {
    let documents = ["docker/stacks/server04/vaultwarden/.sops.env"];
    let windows = BEFORE.replace('\n', "\r\n");
    let done = migrate(&windows, &documents);
    let expected = migrate(BEFORE, &documents).text.replace('\n', "\r\n");
    assert_eq!(done.text, expected);
}

#[test]
fn what_sops_hands_out_is_left_to_a_person() {
    for (wrapper, told) in [
        (
            "sops exec-file --no-fifo .sops.env 'x={} [[COMPOSE_COMMAND]]'",
            "plaintext to $TMPDIR",
        ),
        (
            "/usr/bin/sops exec-env .sops.env '[[COMPOSE_COMMAND]]'",
            "is stored by Komodo",
        ),
    ] {
        let text = format!(
            "[[stack]]\nname = \"a\"\n[stack.config]\ncompose_cmd_wrapper = \"{wrapper}\"\n"
        );
        let done = migrate(&text, &[".sops.env"]);
        assert_eq!(done.text, text);
        let stack = &done.stacks[0];
        assert!(stack.leaks[0].to_string().contains(told), "{stack:?}");
        assert!(stack.left.is_some());
    }
}

#[test]
fn komodo_tracks_no_plaintext() {
    let text = "[[stack]]\nname = \"a\"\n[stack.config]\nrun_directory = \"s\"\nadditional_env_files = [\".env\", { path = \"b.env\" }, { path = \"plain.env\" }, { path = \"c.env\", track = false }] # kept\n\n\
                [[stack]]\nname = \"b\"\nconfig.run_directory = \"s\"\n[[stack.config.additional_env_files]]\npath = \"b.env\"\n";
    let done = migrate(text, &["s/.sops.env", "s/b.sops.env", "s/c.sops.env"]);
    let expected = "[[stack]]\nname = \"a\"\n[stack.config]\nrun_directory = \"s\"\nadditional_env_files = [{ path = \".env\", track = false }, { path = \"b.env\", track = false }, { path = \"plain.env\" }, { path = \"c.env\", track = false }] # kept\n\n\
                    [[stack]]\nname = \"b\"\nconfig.run_directory = \"s\"\n[[stack.config.additional_env_files]]\npath = \"b.env\"\ntrack = false\n";
    assert_eq!(done.text, expected);
    let leaks: Vec<usize> = done.stacks.iter().map(|s| s.leaks.len()).collect();
    assert_eq!(leaks, [2, 1]);
    let again = migrate(&done.text, &["s/.sops.env", "s/b.sops.env", "s/c.sops.env"]);
    assert_eq!(again.stacks, []);
}
