//! The rules that keep a re-key safe, each broken on purpose: edits, commits and pulls by others in the middle of a run, identities
//! that are not at hand, recipients in two roles.

use crate::support::ground::{Ground, identities, parse, private, recipient};
use crate::support::{Ran, Sandbox, copy_folder, have_peers};
use cofferdam::ledger::{Holder, State};
use cofferdam::repo_path::RepoPath;

const KASM: &str = "docker/stacks/kasm/newt/.sops.env";
const VPS: &str = "docker/stacks/racknerd-aegis/identity/.sops.env";

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

/// A run that was killed at the first crash point where `is_there` holds. Readers are worked on side by side, so that a moment
/// between two of them may be missed: it is looked for a few times.
fn killed_where<'s>(
    before: &Ground<'s>,
    name: &str,
    is_there: impl Fn(&Ground<'s>) -> bool,
) -> Ground<'s> {
    for round in 0..5 {
        for n in 1..400 {
            let ground = before.copy(&format!("{name}-{round}-{n}"));
            let mut command = ground.command(&["split", "--yes"]);
            let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
            if ran.code.is_none() && is_there(&ground) {
                return ground;
            }
            ground.remove();
            if ran.code.is_some() {
                break;
            }
        }
    }
    panic!("{name}: never seen before the run ended");
}

/// Sets a value as people do, with real sops.
fn edit(ground: &Ground<'_>, file: &str, keys: &str) {
    let keys = ground.folder.join(keys);
    ground
        .sops(&["set", file, "[\"EDITED\"]", "\"by hand\""], &keys)
        .expect_code(0);
}

fn expect_edited(ground: &Ground<'_>, file: &str, keys: &str) {
    let shown = ground
        .sops(&["decrypt", file], &ground.folder.join(keys))
        .expect_code(0);
    assert!(shown.stdout.contains("EDITED=by hand"), "{}", shown.stdout);
}

#[test]
fn rule_1_what_is_published_lies_sealed() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    let ground = held.copy("sealed");
    std::fs::remove_dir_all(ground.repository().join(".cofferdam/sealed")).unwrap();
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "sealed again");

    // An older ledger in place of the run's: nothing is minted a second time.
    let file = held.repository().join(".cofferdam/keyring.toml");
    let ours = std::fs::read(&file).unwrap();
    std::fs::copy(before.repository().join(".cofferdam/keyring.toml"), &file).unwrap();
    let stopped = held.run(&["resume"]).expect_code(5);
    assert!(
        stopped.stderr.contains("keyring.toml"),
        "{}",
        stopped.stderr
    );
    held.expect_readable("an older ledger");
    std::fs::write(&file, ours).unwrap();
    held.run(&["resume"]).expect_code(0);
    held.expect_finished(&before, "the ledger is back");
}

#[test]
fn rule_2_no_recipient_in_two_roles() {
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    let shared = recipient(&ground.folder.join("shared.txt"));
    let laptop = recipient(&ground.folder.join("laptop.txt"));
    let file = ground.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(laptop.as_str(), shared.as_str())).unwrap();
    let first = ground.first();
    let refused = ground.run(&["split", "--yes"]).expect_code(1);
    assert!(refused.stderr.contains("laptop"), "{}", refused.stderr);
    ground.expect_first(&first, "refused");
}

#[test]
fn rule_3_possession_of_recovery_is_proven_or_waived_by_name() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    // Nobody ever read the recovery identity back.
    std::fs::remove_file(before.repository().join(".cofferdam/keyring.toml")).unwrap();
    let ground = before.copy("unproven");
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("never read back"),
        "{}",
        stopped.stderr
    );
    ground.expect_nothing_retired("unproven");
    ground.run(&["resume"]).expect_code(5);
    ground
        .run(&["resume", "--unproven", "recovery"])
        .expect_code(0);
    ground.expect_finished(&before, "waived");
}

#[test]
fn rule_3_only_the_shared_identity_stops_before_retirement() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("shared-only");
    let run = |args: &[&str]| Ran::of(&mut ground.command_with("shared.txt", args));
    let stopped = run(&["split", "--yes"]).expect_code(5);
    assert!(stopped.stderr.contains("laptop"), "{}", stopped.stderr);
    ground.expect_nothing_retired("shared only");
    ground.expect_readable("shared only");
    run(&["resume", "--yes"]).expect_code(5);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "with the operator's");
}

#[test]
fn rule_5_what_nobody_can_unseal_is_minted_anew() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let minted = |ground: &Ground<'_>, zone: &str| {
        let ledger = ground.ledger();
        ledger
            .live(&Holder::Zone(zone.to_owned()))
            .unwrap()
            .recipient
            .clone()
    };
    // One reader of `lan` has it, the other not; `vps` has none yet: those two are away, and come back.
    let ground = before.copy("shipped");
    let targets = ground.folder.join("targets");
    let away = ["nvr", "racknerd-aegis"];
    for host in away {
        std::fs::rename(targets.join(host), ground.folder.join(host)).unwrap();
    }
    ground.run(&["split", "--yes"]).expect_code(5);
    for host in away {
        std::fs::rename(ground.folder.join(host), targets.join(host)).unwrap();
    }
    let held = |host: &str| identities(&ground.host_file(host)).recipients().len();
    assert_eq!(["kasm", "nvr", "racknerd-aegis"].map(held), [2, 1, 1]);
    let (lan, vps) = (minted(&ground, "lan"), minted(&ground, "vps"));
    let resumed = Ran::of(&mut ground.command_with("shared.txt", &["resume"])).expect_code(5);
    assert!(
        resumed.stderr.contains("minting it anew"),
        "{}",
        resumed.stderr
    );
    // What a reader holds can be had from there; what nobody can open is replaced.
    assert_eq!(minted(&ground, "lan"), lan);
    assert_ne!(minted(&ground, "vps"), vps);
    ground.expect_nothing_retired("minted anew");
    ground.expect_readable("minted anew");
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "minted anew");
}

#[test]
fn rule_6_every_data_key_is_new() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("split");
    ground.run(&["split", "--yes"]).expect_code(0);
    for document in &ground.documents {
        let old = parse(document, before.read(document))
            .unwrap_data_key(&identities(&ground.folder.join("shared.txt")))
            .unwrap();
        let new = parse(document, ground.read(document));
        assert!(
            new.open(&old).is_err(),
            "{document} opens with its old data key"
        );
    }
}

#[test]
fn rule_10_an_edit_before_the_rewrite_survives() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    // Everything lies staged, nothing is in place.
    let ground = killed_where(&before, "staged", |ground| {
        ground
            .unfinished()
            .is_some_and(|j| j.progress().staged.len() == 6)
    });
    assert_eq!(ground.read(&path(KASM)), before.read(&path(KASM)));
    edit(&ground, KASM, "shared.txt");
    let edited = ground.read(&path(KASM));
    let back = ground.copy("staged-back");
    ground.run(&["resume"]).expect_code(0);
    expect_edited(&ground, KASM, "laptop.txt");
    ground.expect_readable("edited");
    back.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(
        back.read(&path(KASM)),
        edited,
        "undo touched an edit that needed nothing"
    );
    back.expect_readable("edited, undone");
    assert_eq!(back.first().commits(), first.commits());
}

#[test]
fn rule_10_an_edit_after_the_rewrite_survives_whatever_happens() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    edit(&held, KASM, "laptop.txt");
    held.expect_readable("edited");
    let on = held.copy("on");
    on.run(&["resume"]).expect_code(0);
    on.expect_readable("edited, resumed");
    expect_edited(&on, KASM, "laptop.txt");
    expect_edited(&on, KASM, "recovery.txt");
    let lan = on.host_file("kasm");
    expect_edited(&on, KASM, lan.to_str().unwrap());
    assert_eq!(on.git(&["status", "--porcelain"]), "");
    // The edit was staged anew, over recipients that an undo takes away: it is wrapped to the previous ones.
    for n in (1..200).step_by(3) {
        let back = held.copy(&format!("back-{n}"));
        let mut command = back.command(&["resume"]);
        let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
        back.expect_readable(&format!("edited, resume killed at {n}"));
        if ran.code.is_some() || back.retirement_begun() {
            assert!(n > 10);
            break;
        }
        back.run(&["undo", "--yes"]).expect_code(0);
        back.expect_readable(&format!("edited, resume killed at {n}, undone"));
        expect_edited(&back, KASM, "shared.txt");
        back.remove();
    }
}

#[test]
fn rule_10_an_edit_after_publication_is_published_as_well() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    edit(&held, KASM, "laptop.txt");
    let back = held.copy("back");
    held.run(&["resume"]).expect_code(0);
    held.expect_readable("edited");
    expect_edited(&held, KASM, "laptop.txt");
    assert_eq!(held.git(&["status", "--porcelain"]), "");
    back.run(&["undo", "--yes"]).expect_code(0);
    back.expect_readable("edited, undone");
    expect_edited(&back, KASM, "shared.txt");
}

#[test]
fn rule_10_a_document_that_somebody_removes_stays_removed() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    for phase in ["rewrite", "publish", "retire"] {
        let mut ground = before.copy(phase);
        ground
            .run(&["split", "--yes", "--hold-at", phase])
            .expect_code(0);
        std::fs::remove_file(ground.repository().join(VPS)).unwrap();
        if phase == "retire" {
            // What HEAD holds was verified already: the removal is theirs to commit.
            ground.git(&["commit", "-q", "-a", "-m", "gone"]);
        }
        ground.run(&["resume"]).expect_code(0);
        ground.documents.retain(|d| d.as_str() != VPS);
        ground.expect_split(&before, phase);
    }
}

#[test]
fn rule_13_a_document_that_came_since_is_rewritten_before_the_retirement() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("late");
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    // A colleague's branch, merged now: wrapped to the old identity.
    let late = "docker/stacks/kasm/late/.sops.env";
    std::fs::create_dir(ground.repository().join("docker/stacks/kasm/late")).unwrap();
    std::fs::write(ground.repository().join(late), before.read(&path(KASM))).unwrap();
    ground.git(&["add", "-A"]);
    ground.git(&["commit", "-q", "-m", "late"]);
    let done = ground.run(&["resume"]).expect_code(0);
    assert!(
        done.stderr.contains(&format!("{late} came since")),
        "{}",
        done.stderr
    );
    ground.expect_split(&before, "a late document");
    let (is, other) = (parse(&path(late), ground.read(&path(late))), path(KASM));
    assert_eq!(
        is.recipients(),
        parse(&other, ground.read(&other)).recipients()
    );
}

/// One that lies where nobody has said who reads it, or that is not committed, stops it.
#[test]
fn rule_13_a_document_that_nobody_placed_stops_the_retirement() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("late");
    ground
        .run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let late = "elsewhere/.sops.env";
    std::fs::create_dir(ground.repository().join("elsewhere")).unwrap();
    std::fs::write(ground.repository().join(late), before.read(&path(KASM))).unwrap();
    ground.git(&["add", "-A"]);
    ground.git(&["commit", "-q", "-m", "late"]);
    for _ in 0..2 {
        let stopped = ground.run(&["resume"]).expect_code(5);
        assert!(stopped.stderr.contains(late), "{}", stopped.stderr);
        ground.expect_nothing_retired("a late document");
        // Gone here, and still published.
        let _ = std::fs::remove_file(ground.repository().join(late));
    }
    ground.git(&["rm", "-q", late]);
    ground.git(&["commit", "-q", "-m", "never mind"]);
    ground.run(&["resume"]).expect_code(0);
    ground.expect_split(&before, "without it");
}

#[test]
fn rule_15_nothing_to_undo_and_no_way_back() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    let ground = before.copy("ground");
    for command in [&["undo", "--yes"][..], &["resume"][..]] {
        ground.run(command).expect_code(0);
        ground.expect_first(&first, "nothing to do");
    }
    let begun = killed_where(&before, "retiring", Ground::retirement_begun);
    let refused = begun.run(&["undo", "--yes"]).expect_code(1);
    assert!(
        refused.stderr.contains("hint: cofferdam resume"),
        "{}",
        refused.stderr
    );
    begun.run(&["resume"]).expect_code(0);
    begun.expect_finished(&before, "resumed");
    begun.run(&["undo", "--yes"]).expect_code(0);
    begun.expect_finished(&before, "nothing to undo any more");
}

/// The way back once others have the commit: readers open everything as at first, minted identities are gone, history keeps both.
#[track_caller]
fn expect_gone_back(ground: &Ground<'_>, when: &str) {
    ground.expect_readable(when);
    let shared = recipient(&ground.folder.join("shared.txt"));
    for (reader, _, held) in ground.readers() {
        assert_eq!(
            held.recipients(),
            std::slice::from_ref(&shared),
            "{when}: {reader}"
        );
    }
    for document in &ground.documents {
        let is = parse(document, ground.read(document));
        assert_eq!(is.recipients(), [&shared], "{when}: {document}");
        let head = ground.git(&["show", &format!("HEAD:{document}")]);
        assert_eq!(
            head.trim_end(),
            String::from_utf8(ground.read(document)).unwrap().trim_end()
        );
    }
    let rules = std::fs::read_to_string(ground.repository().join(".sops.yaml")).unwrap();
    assert!(rules.contains(shared.as_str()), "{when}: {rules}");
    assert_eq!(
        ground.ledger().record_of(&shared).unwrap().state,
        State::Active,
        "{when}"
    );
    assert_eq!(
        ground.git(&["status", "--porcelain", "-uall"]),
        "",
        "{when}"
    );
    assert!(ground.unfinished().is_none(), "{when}");
    ground.expect_no_leftovers(when);
}

#[test]
fn rule_15_published_by_another_branch() {
    if !have_peers(&["sops"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let held = before.copy("held");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    held.git(&["branch", "colleague"]);
    edit(&held, KASM, "laptop.txt");
    let commit = held.git(&["rev-parse", "HEAD"]);
    for n in (0..200).step_by(3) {
        let when = format!("undone by a further commit, killed at {n}");
        let ground = held.copy(&format!("branch-{n}"));
        if n > 0 {
            let mut command = ground.command(&["undo", "--yes"]);
            let ran = Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()));
            ground.expect_readable(&when);
            if ran.code.is_some() {
                assert!(n > 10, "{when}: {}", ran.stderr);
                return;
            }
        }
        let args = if n % 2 == 0 {
            vec!["undo", "--yes"]
        } else {
            vec!["resume"]
        };
        ground.run(&args).expect_code(0);
        assert_eq!(
            ground.git(&["merge-base", "HEAD", "colleague"]),
            commit,
            "{when}"
        );
        expect_gone_back(&ground, &when);
        expect_edited(&ground, KASM, "shared.txt");
        ground.remove();
    }
}

#[test]
fn rule_15_somebody_commits_in_the_middle() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let commit = |ground: &Ground<'_>, name: &str| {
        std::fs::write(ground.repository().join(name), "x\n").unwrap();
        ground.git(&["add", name]);
        ground.git(&["commit", "-q", "-m", name]);
        ground.git(&["rev-parse", "HEAD"])
    };
    // On top of the run's commit: that is somebody's now.
    let held = before.copy("top");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    let top = commit(&held, "other.txt");
    let back = held.copy("top-back");
    held.run(&["resume"]).expect_code(0);
    held.expect_split(&before, "commit on top");
    back.run(&["undo", "--yes"]).expect_code(0);
    back.git(&["merge-base", "--is-ancestor", &top, "HEAD"]);
    expect_gone_back(&back, "commit on top, undone");

    // Before the run's commit: it stays, and everything else is as at first.
    let held = before.copy("early");
    held.run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    let early = commit(&held, "other.txt");
    let back = held.copy("early-back");
    held.run(&["resume"]).expect_code(0);
    held.expect_split(&before, "commit before ours");
    back.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(back.git(&["rev-parse", "HEAD"]), early);
    back.expect_readable("commit before ours, undone");
    for document in &back.documents {
        assert_eq!(back.read(document), before.read(document));
    }
    assert_eq!(
        back.git(&["status", "--porcelain"]),
        before.git(&["status", "--porcelain"])
    );

    // In the middle of an undo.
    let held = before.copy("middle");
    held.run(&["split", "--yes", "--hold-at", "retire"])
        .expect_code(0);
    for n in (1..200).step_by(3) {
        let ground = held.copy(&format!("middle-{n}"));
        let mut command = ground.command(&["undo", "--yes"]);
        if Ran::of(command.env("COFFERDAM_CRASH_AT", n.to_string()))
            .code
            .is_some()
        {
            assert!(n > 10);
            break;
        }
        let theirs = commit(&ground, "other.txt");
        let when = format!("undo killed at {n}, then a commit");
        ground.expect_readable(&when);
        ground.run(&["undo", "--yes"]).expect_code(0);
        ground.git(&["merge-base", "--is-ancestor", &theirs, "HEAD"]);
        ground.expect_readable(&when);
        assert!(ground.unfinished().is_none(), "{when}");
        let shared = recipient(&ground.folder.join("shared.txt"));
        for (reader, _, held) in ground.readers() {
            assert_eq!(
                held.recipients(),
                std::slice::from_ref(&shared),
                "{when}: {reader}"
            );
        }
        ground.remove();
    }
}

#[test]
fn rule_15_what_others_write_into_gitignore_stays() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let ground = before.copy("ignore");
    ground
        .run(&["split", "--yes", "--hold-at", "publish"])
        .expect_code(0);
    let file = ground.repository().join(".gitignore");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}*.swp\n")).unwrap();
    ground.run(&["undo", "--yes"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "*.bak\n*.swp\n");
}

/// The clones of `kasm`, as its deployment tool keeps them.
fn with_clone(before: &Ground<'_>) -> std::path::PathBuf {
    let file = before.repository().join("cofferdam.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace(
        "local = \"../targets/kasm\"\n",
        "local = \"../targets/kasm\"\nclones = [\"/etc/komodo/stacks/*\"]\n",
    );
    std::fs::write(&file, text).unwrap();
    std::path::PathBuf::from("targets/kasm/etc/komodo/stacks/newt")
}

#[test]
fn rule_12_retirement_waits_for_declared_clones() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let clone = with_clone(&before);
    let ground = before.copy("clones");
    // A glob that matches nothing is no evidence.
    let stopped = ground.run(&["split", "--yes"]).expect_code(5);
    assert!(
        stopped.stderr.contains("matches nothing"),
        "{}",
        stopped.stderr
    );
    ground.expect_nothing_retired("no clone");
    // One that lags is none either, whatever anybody says.
    let clone = ground.folder.join(clone);
    copy_folder(&before.repository().join("docker"), &clone.join("docker"));
    for args in [&["resume"][..], &["resume", "--yes"][..]] {
        let stopped = ground.run(args).expect_code(5);
        assert!(stopped.stderr.contains(KASM), "{}", stopped.stderr);
        ground.expect_nothing_retired("a clone that lags");
    }
    for document in ground
        .documents
        .iter()
        .filter(|d| d.as_str().starts_with("docker/"))
    {
        std::fs::write(document.under(&clone), ground.read(document)).unwrap();
    }
    ground.run(&["resume"]).expect_code(0);
    ground.expect_finished(&before, "the clone has pulled");
}

#[test]
fn rule_15_a_clone_that_pulled_counts_as_elsewhere() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let clone = with_clone(&before);
    let ground = before.copy("pulled");
    let clone = ground.folder.join(clone);
    copy_folder(&before.repository().join("docker"), &clone.join("docker"));
    ground.run(&["split", "--yes"]).expect_code(5);
    std::fs::write(path(KASM).under(&clone), ground.read(&path(KASM))).unwrap();
    // A stop: the clone must come back, too.
    let stopped = ground.run(&["undo", "--yes"]).expect_code(5);
    assert!(stopped.stderr.contains("kasm"), "{}", stopped.stderr);
    ground.expect_readable("the way back waits for the clone");
    let own = identities(&ground.host_file("kasm"));
    let deployed = parse(
        &path(KASM),
        std::fs::read(path(KASM).under(&clone)).unwrap(),
    );
    assert!(
        deployed.open_with(&own).is_ok(),
        "kasm is locked out of what it has deployed"
    );
    for document in ground
        .documents
        .iter()
        .filter(|d| d.as_str().starts_with("docker/"))
    {
        std::fs::write(document.under(&clone), ground.read(document)).unwrap();
    }
    ground.run(&["resume"]).expect_code(0);
    expect_gone_back(&ground, "the clone has come back");
}

#[test]
fn rule_15_what_is_temporary_is_swept() {
    let sandbox = Sandbox::in_memory();
    let before = Ground::small(&sandbox);
    let first = before.first();
    for (name, args) in [("on", &["resume"][..]), ("back", &["undo", "--yes"][..])] {
        let ground = before.copy(name);
        ground
            .run(&["split", "--yes", "--hold-at", "publish"])
            .expect_code(0);
        let left = ".x.cofferdam-0123abcd.tmp";
        for folder in [
            ground.repository(),
            ground.repository().join(".cofferdam"),
            ground.repository().join(".cofferdam/sealed"),
            ground.repository().join(".cofferdam/journal"),
            ground.repository().join("docker/stacks/kasm/newt"),
            ground.host_file("nvr").parent().unwrap().to_owned(),
            ground.cluster_folder(),
        ] {
            private(&folder.join(left), "left by a kill", 0o600);
        }
        ground.run(args).expect_code(0);
        ground.expect_no_leftovers(name);
        if name == "back" {
            ground.expect_first(&first, name);
        }
    }
}
