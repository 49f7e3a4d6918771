//! `migrate komodo` on the sample repository.

use crate::support::homeops::fixture;
use crate::support::{COFFERDAM, Ran, Sandbox};

#[test]
fn every_stack_of_the_sample_gets_its_secrets_from_memory() {
    let sandbox = Sandbox::in_memory();
    let bundle = fixture("homeops.bundle");
    let bundle = bundle.to_str().unwrap();
    sandbox.git(sandbox.path(), &["clone", "-q", "-b", "main", bundle, "r"]);
    let root = sandbox.path().join("r");
    let run = |args: &[&str]| Ran::of(sandbox.command(COFFERDAM, &root).args(args));

    let found = run(&["migrate", "komodo", "--check"]).expect_code(3);
    let stacks = found
        .stdout
        .matches("pre_deploy runs `sops-decrypt.sh`")
        .count();
    assert!(stacks >= 15, "{}", found.stdout);
    let mounts = "its containers mount the plaintext of docker/stacks/nvr/frigate/.sops.json: on its host \
                  `cofferdam unseal --dir docker/stacks/nvr/frigate` must keep that in memory";
    assert_eq!(found.stdout.matches("containers mount").count(), 1);
    assert!(found.stdout.contains(mounts), "{}", found.stdout);
    // Without a terminal nobody can be asked.
    run(&["migrate", "komodo"]).expect_code(2);
    assert_eq!(sandbox.git(&root, &["status", "--porcelain"]), "");

    let done = run(&["migrate", "komodo", "--yes"]).expect_code(0);
    assert!(
        done.stderr.contains(&format!("for {stacks} stacks")),
        "{}",
        done.stderr
    );
    let diff = sandbox.git(&root, &["diff", "-U0"]);
    for line in diff.lines() {
        let removed = line.strip_prefix('-').filter(|l| !l.starts_with("--"));
        let Some(removed) = removed else { continue };
        let is_pre_deploy = removed == "[stack.config.pre_deploy]"
            || removed.starts_with("path = ")
            || removed == "command = \"sops-decrypt.sh\"";
        assert!(is_pre_deploy, "{line}");
    }
    let vaultwarden =
        std::fs::read_to_string(root.join("docker/komodo-resources/stacks-server04.toml"));
    let vaultwarden = vaultwarden.unwrap();
    for line in [
        "compose_cmd_wrapper = \"cofferdam exec --dir docker/stacks/server04/vaultwarden -- [[COMPOSE_COMMAND]]\"",
        "compose_cmd_wrapper_include = [\"config\", \"build\", \"pull\", \"up\", \"run\"]",
        "  { path = \"docker/stacks/server04/vaultwarden/backup.sops.env\", requires = \"Redeploy\" },",
    ] {
        assert!(vaultwarden.contains(line), "{line}\n{vaultwarden}");
    }

    let clean = run(&["migrate", "komodo", "--check"]).expect_code(0);
    assert!(
        clean.stderr.contains("get them from memory"),
        "{}",
        clean.stderr
    );
    assert!(clean.stderr.contains(mounts), "{}", clean.stderr);
    let status = sandbox.git(&root, &["status", "--porcelain"]);
    run(&["migrate", "komodo", "--yes"]).expect_code(0);
    assert_eq!(sandbox.git(&root, &["status", "--porcelain"]), status);

    std::fs::write(root.join("odd.toml"), "[[stack]]\nname = \n").unwrap();
    let broken = run(&["migrate", "komodo", "--check"]).expect_code(1);
    assert!(
        broken.stderr.contains("odd.toml is not TOML"),
        "{}",
        broken.stderr
    );
}
