#![expect(clippy::disallowed_methods, reason = "tests")]

use std::process::Command;

use super::*;
use crate::repo_path::RepoPath;

fn git(root: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn repository() -> (tempfile::TempDir, Git) {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q", "-b", "main"]);
    git(folder.path(), &["config", "user.name", "A"]);
    git(folder.path(), &["config", "user.email", "a@example.org"]);
    git(folder.path(), &["config", "commit.gpgSign", "false"]);
    git(folder.path(), &["config", "core.hooksPath", ".git/hooks"]);
    let found = Git::discover(folder.path()).unwrap();
    (folder, found)
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text).unwrap()
}

fn write(git: &Git, name: &str, text: &str) {
    let file = git.root().join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

#[test]
fn discovers_from_a_subfolder_and_says_why_not() {
    let (folder, found) = repository();
    write(&found, "a/b/c", "x");
    let below = Git::discover(&folder.path().join("a/b")).unwrap();
    assert_eq!(below.root(), found.root());
    let outside = tempfile::tempdir().unwrap();
    assert!(matches!(
        Git::discover(outside.path()),
        Err(GitError::NotARepository { .. })
    ));
    assert!(matches!(
        Git::discover(&folder.path().join(".git")),
        Err(GitError::NoWorkTree { .. })
    ));
}

#[test]
fn discovers_a_folder_whose_name_holds_newlines() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a\n\nb\n");
    std::fs::create_dir(&root).unwrap();
    git(&root, &["init", "--quiet"]);
    let root = std::fs::canonicalize(root).unwrap();
    let found = Git::discover(&root).unwrap();
    assert_eq!(found.root(), root);
    assert_eq!(found.git_dir(), root.join(".git"));
    assert_eq!(found.common_dir(), root.join(".git"));
}

#[test]
fn commits_only_what_it_is_told_with_odd_names() {
    let (_folder, git) = repository();
    assert!(git.is_unborn().unwrap());
    let odd = path("dir/sp ace *\nnew [x].txt");
    write(&git, odd.as_str(), "one");
    write(&git, "ignored.txt", "i");
    write(&git, ".gitignore", "ignored.txt\n");
    let first = git
        .commit(&[odd.clone(), path("ignored.txt"), path("absent")], "first")
        .unwrap();
    assert_eq!(git.head().unwrap(), Some(first.clone()));
    assert_eq!(git.blob("HEAD", &odd).unwrap().unwrap(), b"one");
    assert_eq!(git.blob("HEAD", &path(".gitignore")).unwrap(), None);
    let status = git.status().unwrap();
    assert_eq!(status.len(), 1);
    assert!(status[0].untracked && status[0].path == Path::new(".gitignore"));

    // Something else is staged and stays so; a deletion is committed.
    self::git(git.root(), &["add", ".gitignore"]);
    std::fs::remove_file(odd.under(git.root())).unwrap();
    let second = git.commit(std::slice::from_ref(&odd), "second").unwrap();
    assert_eq!(git.parent(&second).unwrap(), Some(first.clone()));
    assert_eq!(git.blob("HEAD", &odd).unwrap(), None);
    assert!(git.status().unwrap()[0].staged);
    assert!(matches!(
        git.commit(&[odd], "third"),
        Err(GitError::NothingToCommit)
    ));
    assert!(git.is_ancestor(first.as_str(), "HEAD").unwrap());
}

#[test]
fn undoes_a_commit_to_the_last_index_entry() {
    let (_folder, git) = repository();
    write(&git, "a", "1");
    let first = git.commit(&[path("a")], "first").unwrap();
    write(&git, "a", "staged");
    self::git(git.root(), &["add", "a"]);
    let paths = [path("a"), path("b")];
    let entries = git.index_entries(&paths).unwrap();
    assert!(entries[0].is_some() && entries[1].is_none());
    write(&git, "a", "2");
    write(&git, "b", "2");
    let second = git.commit(&paths, "second").unwrap();
    assert!(git.refs_containing(&second).unwrap().is_empty());
    self::git(git.root(), &["branch", "elsewhere"]);
    assert_eq!(
        git.refs_containing(&second).unwrap(),
        ["refs/heads/elsewhere"]
    );
    assert!(matches!(
        git.move_head(&first, Some(&second), "undo"),
        Err(GitError::Moved { .. })
    ));
    git.move_head(&second, Some(&first), "undo").unwrap();
    let back: Vec<_> = paths.iter().cloned().zip(entries.clone()).collect();
    git.restore_index(&back).unwrap();
    assert_eq!(git.head().unwrap(), Some(first.clone()));
    assert_eq!(git.index_entries(&paths).unwrap(), entries);
    git.move_head(&first, None, "undo").unwrap();
    assert!(git.is_unborn().unwrap());
}

#[test]
fn a_hook_that_refuses_is_quoted() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, git) = repository();
    write(
        &git,
        ".git/hooks/pre-commit",
        "#!/bin/sh\necho no secrets please >&2\nexit 1\n",
    );
    let hook = git.root().join(".git/hooks/pre-commit");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    write(&git, "a", "1");
    let refused = git.commit(&[path("a")], "first").unwrap_err();
    assert!(
        refused.to_string().contains("no secrets please"),
        "{refused}"
    );
    assert!(git.is_unborn().unwrap());
}

#[test]
fn reads_many_blobs_and_hashes_like_git() {
    let (_folder, git) = repository();
    let paths: Vec<RepoPath> = (0..300).map(|n| path(&format!("d/{n}"))).collect();
    for (n, path) in paths.iter().enumerate() {
        write(&git, path.as_str(), &format!("content {n}\n").repeat(100));
    }
    git.commit(&paths, "many").unwrap();
    let mut asked = paths.clone();
    asked.insert(1, path("absent"));
    let blobs = git.blobs("HEAD", &asked).unwrap();
    assert_eq!(blobs.len(), 301);
    assert!(blobs[1].is_none());
    assert_eq!(
        blobs[2].as_deref().unwrap(),
        "content 1\n".repeat(100).as_bytes()
    );
    let tree = git.tree("HEAD").unwrap();
    let hashed = git.hash_blob(blobs[2].as_deref().unwrap()).unwrap();
    assert_eq!(tree["d/1"].oid, hashed);
}

#[test]
fn an_unknown_committer_and_a_left_lock_are_told_apart() {
    let (_folder, git) = repository();
    git.check_user().unwrap();
    self::git(git.root(), &["config", "--unset", "user.email"]);
    self::git(git.root(), &["config", "--unset", "user.name"]);
    self::git(git.root(), &["config", "user.useConfigOnly", "true"]);
    if self::git(
        git.root(),
        &["config", "--default", "", "--get", "user.email"],
    )
    .trim()
    .is_empty()
    {
        assert!(matches!(git.check_user(), Err(GitError::NoUser)));
    }
}
