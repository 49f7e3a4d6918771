//! Protocol rule 11: what is published is what was verified. Hooks, filters and flags that see to it that it is not are noticed,
//! nothing is retired, and once they are gone the run goes on to its end.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use crate::support::ground::{First, Ground, recipient};
use crate::support::two_clones::TwoClones;
use crate::support::{Ran, Sandbox, have_peers};

const SECRET: &str = "docker/stacks/kasm/newt/.sops.env";
const YAML: &str = "kubernetes/infrastructure/controllers/certmanager/secret.yaml";

struct Hostile<'a> {
    name: &'a str,
    /// Makes the repository hostile; it is committed and clean afterwards.
    arm: &'a dyn Fn(&Ground<'_>),
    /// Removes the cause.
    disarm: &'a dyn Fn(&Ground<'_>),
    /// What the message must name.
    named: &'a [&'a str],
    /// Whether what HEAD holds meanwhile opens for its readers: we cannot keep a hook from committing rubbish.
    is_readable: bool,
    /// Whether undo brings back the very first bytes: not of what a hook changed in the work tree.
    is_exact: bool,
}

impl Hostile<'_> {
    fn test(&self) {
        let sandbox = Sandbox::in_memory();
        let before = Ground::small(&sandbox);
        (self.arm)(&before);
        let (name, first) = (self.name, before.first());
        let ground = before.copy("hostile");
        for attempt in ["split", "resume"] {
            let args: &[&str] = if attempt == "split" {
                &["split", "--yes"]
            } else {
                &["resume"]
            };
            let stopped = ground.run(args).expect_code(5);
            for word in self.named {
                assert!(
                    stopped.stderr.contains(word),
                    "{name}, {attempt}: {}",
                    stopped.stderr
                );
            }
            assert!(stopped.stderr.contains("hint: "), "{}", stopped.stderr);
            assert!(
                stopped.stderr.contains("cofferdam resume"),
                "{}",
                stopped.stderr
            );
            ground.expect_nothing_retired(name);
            if self.is_readable {
                ground.expect_readable(name);
            }
        }
        self.back(&ground, &before, &first);
        (self.disarm)(&ground);
        ground.run(&["resume"]).expect_code(0);
        ground.expect_split(&before, name);
    }

    fn back(&self, ground: &Ground<'_>, before: &Ground<'_>, first: &First) {
        let ground = ground.copy("back");
        (self.disarm)(&ground);
        ground.run(&["undo", "--yes"]).expect_code(0);
        ground.expect_readable(self.name);
        if self.is_exact {
            ground.expect_first(first, &format!("{}, undone", self.name));
        }
        ground.run(&["undo", "--yes"]).expect_code(0);
        // The next attempt goes through.
        ground.git(&["config", "core.hooksPath", "/dev/null"]);
        ground
            .run(&["split", "--yes", "--allow-dirty"])
            .expect_code(0);
        ground.expect_split(before, &format!("{}, undone and split again", self.name));
    }
}

fn hook(ground: &Ground<'_>, name: &str, script: &str) {
    let path = ground.repository().join(".git/hooks").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn unhook(ground: &Ground<'_>) {
    std::fs::remove_dir_all(ground.repository().join(".git/hooks")).unwrap();
}

#[test]
fn a_hook_that_commits_something_else() {
    Hostile {
        name: "a hook that writes to the index",
        arm: &|ground| {
            hook(
                ground,
                "pre-commit",
                &format!("blob=$(echo rubbish | git hash-object -w --stdin)\nexec git update-index --cacheinfo 100644,$blob,{SECRET}"),
            );
        },
        disarm: &unhook,
        named: &[SECRET, "nothing was retired"],
        is_readable: false,
        is_exact: true,
    }
    .test();
}

#[test]
fn a_hook_that_appends_to_a_secret() {
    Hostile {
        name: "a hook that appends",
        arm: &|ground| {
            // Once: what it made must be openable, or nobody could go on from it.
            hook(
                ground,
                "pre-commit",
                &format!(
                    "grep -q seen {YAML} || printf '# seen\\n' >> {YAML}\nexec git add {YAML}"
                ),
            );
        },
        disarm: &|ground| {
            unhook(ground);
        },
        named: &[],
        is_readable: true,
        is_exact: false,
    }
    .appended();
}

impl Hostile<'_> {
    /// The appended comment is somebody's edit: the next resume takes it up instead of overwriting it.
    fn appended(&self) {
        let sandbox = Sandbox::in_memory();
        let before = Ground::small(&sandbox);
        (self.arm)(&before);
        let ground = before.copy("hostile");
        let stopped = ground.run(&["split", "--yes"]).expect_code(5);
        assert!(stopped.stderr.contains(YAML), "{}", stopped.stderr);
        ground.expect_nothing_retired(self.name);
        ground.expect_readable(self.name);
        (self.disarm)(&ground);
        let back = ground.copy("back");
        ground.run(&["resume"]).expect_code(0);
        assert!(
            ground
                .git(&["show", &format!("HEAD:{YAML}")])
                .contains("# seen")
        );
        ground.expect_readable(self.name);
        back.run(&["undo", "--yes"]).expect_code(0);
        back.expect_readable(self.name);
        assert_eq!(back.first().commits(), before.first().commits());
    }
}

#[test]
fn a_hook_that_encrypts_a_secret_again() {
    if !have_peers(&["sops"]) {
        return;
    }
    Hostile {
        name: "a hook that re-encrypts",
        arm: &|ground| {
            hook(
                ground,
                "pre-commit",
                &format!("sops rotate -i {SECRET} || exit 0\nexec git add {SECRET}"),
            );
        },
        disarm: &unhook,
        named: &[SECRET, "nothing was retired"],
        is_readable: true,
        is_exact: false,
    }
    .test();
}

#[test]
fn hooks_that_refuse() {
    for name in ["pre-commit", "commit-msg"] {
        Hostile {
            name,
            arm: &|ground| hook(ground, name, "echo the office is closed >&2; exit 1"),
            disarm: &unhook,
            named: &["the commit was refused", "the office is closed"],
            is_readable: true,
            is_exact: true,
        }
        .test();
    }
}

#[test]
fn line_endings_that_git_converts() {
    Hostile {
        name: "autocrlf",
        arm: &|ground| {
            // As after a clone with that setting: LF in the repository, CRLF in the work tree.
            ground.git(&["config", "core.autocrlf", "true"]);
            let file = ground.repository().join(YAML);
            std::fs::remove_file(&file).unwrap();
            ground.git(&["checkout", "--", YAML]);
            assert!(std::fs::read_to_string(&file).unwrap().contains("\r\n"));
        },
        disarm: &|ground| {
            ground.git(&["config", "core.autocrlf", "false"]);
        },
        named: &[YAML, "(differs)"],
        is_readable: true,
        is_exact: false,
    }
    .test();
}

#[test]
fn a_clean_filter() {
    Hostile {
        name: "a clean filter",
        arm: &|ground| {
            let attributes = ground.repository().join(".gitattributes");
            std::fs::write(attributes, "*.sops.env filter=stamp\n").unwrap();
            ground.git(&["add", "-A", "--", ".gitattributes"]);
            ground.git(&["commit", "-q", "-m", "attributes"]);
            // What is committed already passes unchanged.
            let laptop = recipient(&ground.folder.join("laptop.txt"));
            let filter = format!("sed s/{laptop}/nobody/");
            ground.git(&["config", "filter.stamp.clean", &filter]);
        },
        disarm: &|ground| {
            ground.git(&["config", "--unset", "filter.stamp.clean"]);
        },
        named: &[SECRET, "(differs)"],
        is_readable: false,
        is_exact: true,
    }
    .test();
}

#[test]
fn a_file_that_git_is_told_to_skip() {
    Hostile {
        name: "skip-worktree",
        arm: &|ground| {
            ground.git(&["update-index", "--skip-worktree", SECRET]);
        },
        disarm: &|ground| {
            ground.git(&["update-index", "--no-skip-worktree", SECRET]);
        },
        named: &[SECRET],
        is_readable: true,
        is_exact: true,
    }
    .test();
}

/// git overlooks such a file unless it is named, and we name it: what is committed is what was verified.
#[test]
fn a_file_that_git_is_told_not_to_look_at() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    before.git(&["update-index", "--assume-unchanged", SECRET]);
    let ground = before.copy("assumed");
    ground.run(&["split", "--yes"]).expect_code(0);
    ground.expect_finished(&before, "assume-unchanged");
}

#[test]
fn a_hook_that_kills_us() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    hook(
        &before,
        "pre-commit",
        "read -r _ _ _ parent _ < /proc/$PPID/stat\nkill -9 $parent\nsleep 0.3",
    );
    for back in [false, true] {
        let ground = before.copy(&format!("killed-{back}"));
        let output = ground.command(&["split", "--yes"]).output().unwrap();
        assert_eq!(output.status.signal(), Some(9));
        // git is still at work: what comes next waits for it.
        let when = "killed by a hook";
        ground.expect_readable(when);
        if back {
            ground.undo_or_finish(&before, &first, when);
        } else {
            unhook(&ground);
            ground.resume_and_finish(&before, &first, when);
        }
    }
}

#[test]
fn a_hook_that_kills_git_and_us() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    hook(
        &before,
        "pre-commit",
        "read -r _ _ _ parent _ < /proc/$PPID/stat\nkill -9 $parent $PPID",
    );
    let ground = before.copy("killed");
    let ran = Ran::of(&mut ground.command(&["split", "--yes"]));
    assert_eq!(ran.code, None);
    ground.expect_readable("git killed");
    unhook(&ground);
    let lock = ground.repository().join(".git/index.lock");
    assert!(lock.exists(), "git left no lock: this test tests nothing");
    let back = ground.copy("back");
    // Whose lock it is nobody can know: we say which file it is and do not touch it.
    for (ground, args) in [(&ground, &["resume"][..]), (&back, &["undo", "--yes"][..])] {
        let stopped = ground.run(args).expect_code(5);
        assert!(stopped.stderr.contains("index.lock"), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("remove"), "{}", stopped.stderr);
        ground.expect_nothing_retired("a left lock");
        ground.expect_readable("a left lock");
        std::fs::remove_file(ground.repository().join(".git/index.lock")).unwrap();
    }
    ground.resume_and_finish(&before, &first, "lock removed");
    back.undo_or_finish(&before, &first, "lock removed, undone");
}

const PUSHED: &str = "remote = \"origin\"\npush = true\n";

/// The remote takes the run's ref, and refuses the branch: nothing is retired, and there are both ways on.
#[test]
fn a_push_that_is_rejected() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let first = world.a.first();
    let here = world.copy("rejected");
    here.hub_hook(
        "update",
        "test \"$1\" != refs/heads/main || { echo protected branch >&2; exit 1; }",
    );
    for args in [&["split", "--yes"][..], &["resume"][..]] {
        let stopped = here.a.run(args).expect_code(5);
        for word in [
            "protected branch",
            "nothing was retired",
            "cofferdam resume",
        ] {
            assert!(stopped.stderr.contains(word), "{word}: {}", stopped.stderr);
        }
        here.a.expect_nothing_retired("rejected");
        here.a.expect_readable("rejected");
    }
    let back = here.copy("rejected-back");
    back.a.run(&["undo", "--yes"]).expect_code(0);
    back.a.expect_first(&first, "rejected, undone");
    assert_eq!(back.held(), "");
    std::fs::remove_file(here.folder.join("hub.git/hooks/update")).unwrap();
    here.a.run(&["resume"]).expect_code(0);
    here.a.expect_finished(&world.a, "accepted");
    assert_eq!(
        here.hub(&["rev-parse", "main"]),
        here.a.git(&["rev-parse", "HEAD"])
    );
}

/// Somebody pushes between our commit and our push.
#[test]
fn a_push_that_comes_second() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, PUSHED);
    let push = |ground: &Ground<'_>, name: &str| {
        std::fs::write(ground.repository().join(name), "x\n").unwrap();
        ground.git(&["add", name]);
        ground.git(&["commit", "-q", "-m", name]);
        ground.git(&["push", "-q"]);
        ground.git(&["rev-parse", "HEAD"])
    };
    // Before our commit: it is taken, ours stands on it.
    let here = world.copy("before-commit");
    here.a
        .run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    let theirs = push(&here.b, "other.txt");
    here.a.run(&["resume"]).expect_code(0);
    here.a.expect_split(&world.a, "theirs came first");
    here.a
        .git(&["merge-base", "--is-ancestor", &theirs, "HEAD"]);

    // After it: ours does not stand on theirs.
    let here = world.copy("after-commit");
    here.hub_hook("update", "test \"$1\" != refs/heads/main");
    here.a.run(&["split", "--yes"]).expect_code(5);
    std::fs::remove_file(here.folder.join("hub.git/hooks/update")).unwrap();
    let theirs = push(&here.b, "other.txt");
    let stopped = here.a.run(&["resume"]).expect_code(5);
    assert!(
        stopped.stderr.contains("git pull --rebase"),
        "{}",
        stopped.stderr
    );
    here.a.expect_nothing_retired("theirs came in between");
    here.a.git(&["pull", "-q", "--rebase"]);
    here.a.run(&["resume"]).expect_code(0);
    here.a.expect_split(&world.a, "rebased");
    here.a
        .git(&["merge-base", "--is-ancestor", &theirs, "HEAD"]);
    assert_eq!(
        here.hub(&["rev-parse", "main"]),
        here.a.git(&["rev-parse", "HEAD"])
    );
}

/// What is published is told by blob: a squash makes another commit of it.
#[test]
fn a_squash_merge() {
    let sandbox = Sandbox::in_memory();
    let world = TwoClones::new(&sandbox, "remote = \"origin\"\n");
    let stopped = world.copy("squashed");
    let ran = stopped.a.run(&["split", "--yes"]).expect_code(5);
    assert!(
        ran.stderr.contains("does not have the run's commit yet"),
        "{}",
        ran.stderr
    );
    stopped
        .a
        .git(&["push", "-q", "origin", "HEAD:refs/heads/review"]);
    stopped.a.run(&["resume"]).expect_code(5);
    stopped.a.expect_nothing_retired("on another branch");
    stopped.b.git(&["fetch", "-q"]);
    stopped.b.git(&["merge", "-q", "--squash", "origin/review"]);
    stopped.b.git(&["commit", "-q", "-m", "squashed"]);
    stopped.b.git(&["push", "-q"]);
    let ran = stopped.a.run(&["resume"]).expect_code(5);
    assert!(ran.stderr.contains("git pull --rebase"), "{}", ran.stderr);
    stopped.a.expect_nothing_retired("squashed, not pulled");
    stopped.a.expect_readable("squashed, not pulled");
    let back = stopped.copy("squashed-back");
    stopped.a.git(&["pull", "-q", "--rebase"]);
    stopped.a.run(&["resume"]).expect_code(0);
    stopped.a.expect_split(&world.a, "squashed");
    assert_eq!(stopped.held(), "");

    // The way back is by a further commit: others have it, under another name.
    back.a.git(&["pull", "-q", "--rebase"]);
    let ran = back.a.run(&["undo", "--yes"]).expect_code(5);
    assert!(ran.stderr.contains("does not have"), "{}", ran.stderr);
    back.a.expect_readable("taken back, not pushed");
    for (reader, _, held) in back.a.readers() {
        assert_eq!(
            held.recipients().len(),
            2,
            "{reader} lost an identity before others could pull"
        );
    }
    back.a.git(&["push", "-q"]);
    back.a.run(&["resume"]).expect_code(0);
    for (reader, _, held) in back.a.readers() {
        let shared = recipient(&back.a.folder.join("shared.txt"));
        assert_eq!(held.recipients(), [shared], "{reader}");
    }
    back.a.expect_readable("taken back");
    assert_eq!(back.held(), "");
}
