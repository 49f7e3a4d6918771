//! Undo against others who come by at the worst moment: a clone that pulls right before the run's commit leaves the branch,
//! a colleague who commits where the run's commit would stand.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::ground::{Ground, identities, parse};
use crate::support::{Ran, Sandbox, copy_folder};
use cofferdam::journal::{Progress, Step};
use cofferdam::repo_path::RepoPath;

const KASM: &str = "docker/stacks/kasm/newt/.sops.env";

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn expect_kasm_reads(ground: &Ground<'_>, clone: &Path) {
    let own = identities(&ground.host_file("kasm"));
    let deployed = parse(&path(KASM), std::fs::read(path(KASM).under(clone)).unwrap());
    assert!(
        deployed.open_with(&own).is_ok(),
        "kasm is locked out of what it has deployed"
    );
}

#[test]
fn a_clone_that_pulls_while_the_commit_leaves_is_not_locked_out() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let topology = before.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&topology).unwrap().replace(
        "local = \"../targets/kasm\"\n",
        "local = \"../targets/kasm\"\nclones = [\"/etc/komodo/stacks/*\"]\n",
    );
    std::fs::write(&topology, text).unwrap();
    let ground = before.copy("pulled");
    let clone = ground.folder.join("targets/kasm/etc/komodo/stacks/newt");
    copy_folder(&before.repository().join("docker"), &clone.join("docker"));
    ground.run(&["split", "--yes"]).expect_code(5);

    // Git asks this hook right before it moves a branch: HEAD is still the run's commit, and kasm takes it.
    let hook = ground.repository().join(".git/hooks/reference-transaction");
    let taken = path(KASM).under(&clone);
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = prepared ] || exit 0\n[ -e {0}.pulled ] && exit 0\ntouch {0}.pulled\ngit show HEAD:{KASM} > {0}\n",
        taken.display()
    );
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stopped = ground.run(&["undo", "--yes"]).expect_code(5);
    assert!(stopped.stderr.contains("kasm"), "{}", stopped.stderr);
    std::fs::remove_file(&hook).unwrap();
    assert_ne!(
        std::fs::read(&taken).unwrap(),
        before.read(&path(KASM)),
        "the hook was not run"
    );
    expect_kasm_reads(&ground, &clone);
    ground.expect_readable("pulled while the commit left");

    // A further commit leads back, and the clone can follow it.
    for document in ground.documents.iter() {
        if document.as_str().starts_with("docker/") {
            std::fs::write(document.under(&clone), ground.read(document)).unwrap();
        }
    }
    ground.run(&["undo", "--yes"]).expect_code(0);
    expect_kasm_reads(&ground, &clone);
    ground.expect_readable("taken back by a further commit");
    assert!(ground.unfinished().is_none());
}

/// A run that was killed after it began to publish, and before its commit.
fn killed_before_the_commit<'s>(before: &Ground<'s>) -> Ground<'s> {
    let begun = |progress: &Progress| {
        progress.started.contains(&Step::Publish) && progress.commits.is_empty()
    };
    let head = before.git(&["rev-parse", "HEAD"]);
    for n in 1..400 {
        let ground = before.copy(&format!("killed-{n}"));
        let mut command = ground.command(&["split", "--yes"]);
        let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
        assert_eq!(ran.code, None, "never seen before the run ended");
        let there = ground.unfinished().is_some_and(|j| begun(j.progress()));
        if there && ground.git(&["rev-parse", "HEAD"]) == head {
            return ground;
        }
        ground.remove();
    }
    panic!("never seen");
}

#[test]
fn a_colleagues_commit_in_the_place_of_the_runs_is_not_taken_for_it() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = killed_before_the_commit(&before);
    // They commit a change of the very document that the run rewrites, from a clone of their own; here it is pulled.
    let rewritten = ground.read(&path(KASM));
    std::fs::write(
        path(KASM).under(&ground.repository()),
        before.read(&path(KASM)),
    )
    .unwrap();
    let keys = ground.folder.join("shared.txt");
    ground
        .sops(&["set", KASM, "[\"EDITED\"]", "\"by hand\""], &keys)
        .expect_code(0);
    ground.git(&["commit", "-q", "-m", "a colleague's", "--", KASM]);
    let theirs = ground.git(&["rev-parse", "HEAD"]);
    std::fs::write(path(KASM).under(&ground.repository()), rewritten).unwrap();

    ground.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(ground.git(&["rev-parse", "HEAD"]), theirs);
    ground.expect_readable("taken back beside a colleague's commit");
}
