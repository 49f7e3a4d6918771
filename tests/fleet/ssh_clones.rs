//! What hosts by SSH have deployed (protocol rule 12), with real `sshd`s.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::bench::{Bench, by_ssh, told, transport};
use crate::support::ground::Ground;
use crate::support::sshd::{Fleet, Manners, have_sshd};
use crate::support::{Ran, Sandbox, have_peers};
use cofferdam::fleet::{Deployed, DirectoryHost, Target};
use cofferdam::inventory::Digest;
use cofferdam::repo_path::RepoPath;

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// What a host tells is what a directory of the same content tells; the folder's name stands before it.
fn alike(by_ssh: &[Deployed], as_directory: &[Deployed]) {
    let bare = |all: &[Deployed]| -> Vec<_> {
        let documents = |one: &Deployed| one.clones.iter().map(|c| c.documents.clone()).collect();
        let bare = |one: &Deployed| -> Vec<_> { documents(one) };
        all.iter().map(bare).collect()
    };
    assert_eq!(bare(by_ssh), bare(as_directory));
}

#[test]
fn what_a_host_has_deployed_is_told_whatever_the_names() {
    if !have_sshd() {
        return;
    }
    for path in [None, crate::support::bench::busybox()] {
        let bench = Bench::new(
            "kasm",
            &Manners {
                path: path.as_ref().map(|(_, bin)| bin.clone()),
                ..Manners::default()
            },
        );
        let root = bench.sandbox.path().join("disk");
        let documents: Vec<RepoPath> = [
            "a.sops.env",
            "docker/it's $(touch pwned) \"x\"/b\\c.sops.env",
            "-e.sops.env",
            "line\nbreak\u{1}.sops.env\n",
            "grüße/d.sops.json",
            "nowhere.sops.env",
        ]
        .iter()
        .map(|text| RepoPath::new(text).unwrap())
        .collect();
        let stacks: [&[u8]; 7] = [
            b"one",
            b"two words",
            b"three\nlines\n",
            b"fo\"u'r$(id)",
            b"f\xffve",
            b"-n",
            b".hidden",
        ];
        for (at, stack) in stacks.iter().enumerate() {
            let clone = root.join("stacks").join(OsStr::from_bytes(stack));
            std::fs::create_dir_all(&clone).unwrap();
            for (number, document) in documents.iter().enumerate().take(5) {
                if number != at {
                    let text = format!("{at} {number} \0\n");
                    write(&document.under(&clone), text.as_bytes());
                }
            }
        }
        std::fs::write(root.join("stacks/file"), "").unwrap();
        symlink("one", root.join("stacks/link")).unwrap();
        symlink("gone", root.join("stacks/dangling")).unwrap();

        let target = bench.target("kasm");
        let at = |glob: &str| format!("{}{glob}", root.display());
        let globs = [
            "/stacks/*",
            "/stacks/{one,two*}",
            "/stacks/one",
            "/st?cks/x*",
            "/none/*",
        ];
        let asked: Vec<String> = globs.iter().map(|glob| at(glob)).collect();
        let found = target.deployed(&asked, &documents).unwrap();
        let counts: Vec<usize> = found.iter().map(|one| one.clones.len()).collect();
        assert_eq!(counts, [8, 2, 1, 0, 0]);
        assert_eq!(found[0].glob, asked[0]);
        let all: Vec<_> = found[0].clones.iter().flat_map(|c| &c.documents).collect();
        // All but one of five in five of the stacks, all five in two, and the link to the first.
        assert_eq!(all.len(), 5 * 4 + 2 * 5 + 4);
        let one = &found[2].clones[0].documents;
        assert_eq!(one[&documents[4]], Digest::of(b"0 4 \0\n"));
        assert!(!one.contains_key(&documents[0]) && !one.contains_key(&documents[5]));
        assert!(!bench.sandbox.path().join("pwned").exists());

        let directory = DirectoryHost::new("kasm", root, "/etc/sops/age/keys.txt");
        let globs: Vec<String> = globs.iter().map(|&glob| glob.to_owned()).collect();
        alike(&found, &directory.deployed(&globs, &documents).unwrap());
    }
}

#[test]
fn a_document_that_cannot_be_read_is_no_evidence() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let root = bench.sandbox.path().join("disk");
    let document = RepoPath::new("a.sops.env").unwrap();
    // A folder in its place: root reads everything else.
    std::fs::create_dir_all(root.join("one/a.sops.env")).unwrap();
    let globs = [format!("{}/*", root.display())];
    let target = bench.target("kasm");
    let error = target
        .deployed(&globs, std::slice::from_ref(&document))
        .unwrap_err();
    assert!(told(&error).contains("a.sops.env: "), "{}", told(&error));
    let directory = DirectoryHost::new("kasm", root, "/etc/sops/age/keys.txt");
    assert!(directory.deployed(&["/*".to_owned()], &[document]).is_err());
}

#[test]
fn many_clones_with_many_documents_take_few_calls() {
    if !have_sshd() {
        return;
    }
    let bench = Bench::new("kasm", &Manners::default());
    let root = bench.sandbox.path().join("disk");
    let documents: Vec<RepoPath> = (0..60)
        .map(|n| RepoPath::new(&format!("docker/stacks/{n}/.env.sops.env")).unwrap())
        .collect();
    for clone in 0..20 {
        for document in &documents {
            write(&document.under(&root.join(clone.to_string())), b"x");
        }
    }
    let target = bench.target("kasm");
    let globs = [format!("{}/*", root.display())];
    let found = target.deployed(&globs, &documents).unwrap();
    assert_eq!(found[0].clones.len(), 20);
    assert!(
        found[0]
            .clones
            .iter()
            .all(|clone| clone.documents.len() == 60)
    );
    // The master, the probe, the list, the digests; the library runs no program.
    let calls = if transport().is_some() { 0 } else { 4 };
    assert_eq!(bench.fleet.argv().lines().count(), calls);
}

#[test]
fn retirement_waits_for_clones_on_hosts_by_ssh() {
    if !have_sshd() || !have_peers(&["git"]) {
        return;
    }
    let sandbox = Sandbox::in_memory();
    let ground = Ground::small(&sandbox);
    let mut fleet = Fleet::new(&ground.folder);
    fleet.add("kasm", &Manners::default());
    let stacks = ground.folder.join("stacks");
    let clones = format!("clones = [\"{}/*\"]\n", stacks.display());
    by_ssh(&ground, "kasm", &clones);
    let run = |args: &[&str]| Ran::of(ground.command(args).env("COFFERDAM_SSH", fleet.program()));
    let documents: Vec<&RepoPath> = ground
        .documents
        .iter()
        .filter(|document| document.as_str().starts_with("docker/"))
        .collect();
    let pull = |document: &RepoPath| {
        write(
            &document.under(&stacks.join("a stack")),
            &ground.read(document),
        );
    };
    let expect_waiting = |args: &[&str], what: &str| {
        let stopped = run(args).expect_code(5);
        assert!(stopped.stderr.contains(what), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("kasm"), "{}", stopped.stderr);
        ground.expect_nothing_retired(what);
        ground.expect_readable(what);
    };
    expect_waiting(&["split", "--yes"], "matches nothing");
    // What lags is no evidence, whatever anybody says.
    let old = ground.git(&["show", &format!("HEAD~1:{}", documents[0].as_str())]);
    write(&documents[0].under(&stacks.join("a stack")), old.as_bytes());
    expect_waiting(&["resume", "--yes"], "a stack");
    for document in documents {
        pull(document);
    }
    run(&["resume"]).expect_code(0);
    let held = cofferdam::keys::key_file::KeyFile::parse(
        &std::fs::read(ground.host_file("kasm")).unwrap(),
    );
    assert_eq!(held.unwrap().recipients().len(), 1);
    ground.expect_readable("the clone has pulled");
}
