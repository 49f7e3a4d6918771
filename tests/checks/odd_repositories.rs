//! Odd repositories, one tree for each kind: `check`, `exposure`, `why`, `status`, `init` and the hooks' commands survive them and say
//! what they could not look into.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::homeops::Homeops;
use crate::support::repository::Repository;
use crate::support::runtime::private_memory;
use crate::support::{COFFERDAM, Ran, Sandbox, have_peers, tests_folder};

const RULES: &str = "creation_rules:\n  - path_regex: .*\n    age: age1y9w8ltdtzmjusvk9h43kevq8nxspu48xttzha80v6lsgkmse6c5qnr0rss\n    odd_field: 1\n";

struct Odd(Repository);

impl Odd {
    /// A repository with one document, and what `fill` puts beside it; all committed.
    fn new(fill: impl Fn(&Sandbox, &Path)) -> Self {
        let repository = Repository::new();
        repository.write("web/.sops.env", document());
        fill(&repository.sandbox, &repository.tree);
        repository.commit_all("odd");
        Self(repository)
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.0.cofferdam(args)
    }

    /// Every command ends with the code it should; gives what `check` and `exposure` printed.
    fn survives(&self, init: i32) -> (String, String) {
        let keys = tests_folder().join("throwaway_keys/alice.txt");
        let exposure = ["exposure", "--json", "--identity", keys.to_str().unwrap()];
        let check = self.run(&["check"]).expect_code(3);
        let exposed = self.run(&exposure).expect_code(0);
        let why = self.run(&["why", "web/.sops.env"]);
        assert!(matches!(why.code, Some(0 | 3)), "{}", why.stderr);
        let status = self.run(&["status"]).expect_code(1);
        assert!(
            status.stderr.contains("no cofferdam.toml"),
            "{}",
            status.stderr
        );
        let staged = self.run(&["check", "--staged"]);
        assert_eq!(staged.code, Some(0), "{}", staged.stderr);
        let recovery = cofferdam::keys::Identity::mint().recipient().unwrap();
        let operator = cofferdam::keys::Identity::mint().recipient().unwrap();
        let laptop = format!("laptop={operator}");
        let args = [
            "init",
            "--yes",
            "--recovery",
            recovery.as_str(),
            "--operator",
            &laptop,
        ];
        self.run(&args).expect_code(init);
        if init == 0 {
            let status = self.run(&["status"]);
            assert!(matches!(status.code, Some(0 | 1 | 3)), "{}", status.stderr);
        }
        let told = |ran: Ran| format!("{}{}", ran.stdout, ran.stderr);
        (told(check), told(exposed))
    }
}

fn document() -> Vec<u8> {
    std::fs::read(tests_folder().join("policies/no-rules/fail/web/.sops.env")).unwrap()
}

fn write(tree: &Path, path: &str, bytes: &[u8]) {
    let file = tree.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn no_rules_and_several() {
    if !have_peers(&["git"]) {
        return;
    }
    let (check, _) = Odd::new(|_, _| {}).survives(0);
    assert!(check.contains("there is no .sops.yaml"), "{check}");
    let odd = Odd::new(|_, tree| {
        write(tree, ".sops.yaml", RULES.as_bytes());
        write(tree, "web/.sops.yaml", RULES.as_bytes());
    });
    let (check, _) = odd.survives(0);
    assert!(check.contains("odd_field"), "{check}");
    let strict = odd.run(&["check", "--policy", "strict"]).expect_code(3);
    assert!(
        strict.stdout.contains("web/.sops.yaml"),
        "{}",
        strict.stdout
    );
}

#[test]
fn broken_yaml_everywhere() {
    if !have_peers(&["git"]) {
        return;
    }
    let odd = Odd::new(|_, tree| {
        write(tree, ".sops.yaml", b"creation_rules: [\n");
        write(tree, "compose.yaml", b"services: [\n---\n\t- x\n");
        let torn = b"a: ENC[AES256_GCM,data:x]\nsops:\n  lastmodified: 1\n  mac: [\n";
        write(tree, "web/torn.yaml", torn);
    });
    let (check, exposed) = odd.survives(0);
    for file in [".sops.yaml", "compose.yaml", "web/torn.yaml"] {
        assert!(check.contains(&format!("{file}:")), "{file}\n{check}");
    }
    assert!(exposed.contains("web/torn.yaml"), "{exposed}");
    // Nothing is staged, and yet whether a rule would say so cannot be told.
    let encrypt = odd.run(&["encrypt", "--staged"]).expect_code(1);
    assert!(
        encrypt.stderr.contains("cannot use .sops.yaml"),
        "{}",
        encrypt.stderr
    );
}

#[test]
fn loops_of_links() {
    if !have_peers(&["git"]) {
        return;
    }
    let odd = Odd::new(|_, tree| {
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, tree.join(at)).unwrap();
        link("b", "a");
        link("a", "b");
        link("..", "web/up");
        link(".", "self");
        link("web/.sops.env", "link.sops.env");
    });
    odd.survives(0);
}

#[test]
fn files_of_100_megabytes() {
    if !have_peers(&["git"]) {
        return;
    }
    let odd = Odd::new(|_, tree| {
        for name in ["large.yaml", "large.bin", "large.sops.env"] {
            let file = std::fs::File::create(tree.join(name)).unwrap();
            file.set_len(100 << 20).unwrap();
        }
    });
    let (check, _) = odd.survives(0);
    assert!(check.contains("large.sops.env"), "{check}");
}

/// Gigabytes of nothing beside the secrets: looked at in pieces, with less memory than one of them would take.
#[test]
fn files_that_no_memory_would_hold() {
    if !have_peers(&["git", "sops"]) {
        return;
    }
    let (homeops, _) = Homeops::prepared();
    let tree = homeops.repository();
    let stack = "docker/stacks/kasm/newt";
    for (name, size) in [("disk.img", 1 << 40), ("docker/stacks/dump.yaml", 5 << 30)] {
        let file = std::fs::File::create(tree.join(name)).unwrap();
        file.set_len(size).unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = homeops.sandbox.command("sh", &tree);
        // Address space, in KiB; what is used of it is less.
        let script = "ulimit -v 1500000; exec \"$0\" \"$@\"";
        command.args(["-c", script, COFFERDAM]).args(args);
        Ran::of(command.env("SOPS_AGE_KEY_FILE", homeops.keys_file()))
    };
    run(&["plan", "split"]).expect_code(0);
    run(&["verify"]).expect_code(0);
    run(&["exposure"]).expect_code(0);
    run(&["status"]).expect_code(3);
    let checked = run(&["check"]).expect_code(3);
    assert!(!checked.stdout.contains("disk.img"), "{}", checked.stdout);
    let memory = private_memory();
    let memory = memory
        .as_ref()
        .map(|memory| memory.path().to_str().unwrap());
    let unseal = memory.map(|memory| ["unseal", "--root", memory, "--dry-run", "--dir", stack]);
    if let Some(unseal) = &unseal {
        run(unseal).expect_code(0);
    }

    // One that may be a document is not passed over.
    let document = std::fs::read(tree.join(stack).join(".sops.env")).unwrap();
    let line = [[b'x'; 1023].as_slice(), b"\n"].concat();
    let large = [line.repeat(65 << 10), document].concat();
    std::fs::write(tree.join(stack).join("large.sops.env"), large).unwrap();
    let plan = run(&["plan", "split"]).expect_code(1);
    let told = format!("{stack}/large.sops.env looks like a SOPS document");
    assert!(plan.stderr.contains(&told), "{}", plan.stderr);
    assert!(plan.stderr.contains("64 MiB"), "{}", plan.stderr);
    let checked = run(&["check"]).expect_code(3);
    assert!(checked.stdout.contains("64 MiB"), "{}", checked.stdout);
    for args in unseal.iter().map(|args| &args[..]).chain([&["verify"][..]]) {
        let refused = run(args).expect_code(1);
        assert!(refused.stderr.contains("64 MiB"), "{}", refused.stderr);
    }
}

#[test]
fn names_that_are_not_utf8() {
    if !have_peers(&["git"]) {
        return;
    }
    let odd = Odd::new(|_, tree| {
        let folder = tree.join(OsStr::from_bytes(b"fold\xfe"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("x.sops.env"), document()).unwrap();
        let name = OsStr::from_bytes(b"odd\xff.sops.env");
        std::fs::write(tree.join(name), document()).unwrap();
        std::fs::write(tree.join(OsStr::from_bytes(b"\xff.txt")), "a").unwrap();
    });
    // A topology could not name them.
    let (check, _) = odd.survives(1);
    assert!(check.contains("whose name is not UTF-8"), "{check}");
    assert!(check.contains("odd\u{fffd}.sops.env"), "{check}");
}

#[test]
fn submodules_and_repositories_inside() {
    if !have_peers(&["git"]) {
        return;
    }
    let odd = Odd::new(|sandbox, tree| {
        let other = sandbox.path().join("other");
        std::fs::create_dir(&other).unwrap();
        sandbox.git(&other, &["init", "--quiet"]);
        write(&other, "in.sops.env", &document());
        sandbox.git(&other, &["add", "."]);
        sandbox.git(&other, &["commit", "--quiet", "-m", "other"]);
        let url = other.to_str().unwrap();
        let allow = "protocol.file.allow=always";
        sandbox.git(
            tree,
            &["-c", allow, "submodule", "--quiet", "add", url, "sub"],
        );
    });
    let (check, _) = odd.survives(0);
    assert!(!check.contains("in.sops.env"), "{check}");
    let strict = odd.run(&["check", "--policy", "strict"]).expect_code(3);
    assert!(
        strict.stdout.contains("submodules-not-checked"),
        "{}",
        strict.stdout
    );
}

#[test]
fn shallow_clones_and_empty_repositories() {
    if !have_peers(&["git"]) {
        return;
    }
    let whole = Odd::new(|sandbox, tree| {
        sandbox.git(tree, &["add", "."]);
        sandbox.git(tree, &["commit", "--quiet", "-m", "first"]);
        std::fs::write(tree.join("README.md"), "words\n").unwrap();
    });
    let Odd(mut repository) = whole;
    let url = format!("file://{}", repository.tree.display());
    let sandbox = &repository.sandbox;
    let clone = ["clone", "--quiet", "--depth", "1", &url, "shallow"];
    sandbox.git(sandbox.path(), &clone);
    repository.tree = sandbox.path().join("shallow");
    let shallow = Odd(repository);
    let (_, exposed) = shallow.survives(0);
    // History that is not there may hold more.
    assert!(exposed.contains("shallow"), "{exposed}");
    let since = shallow.run(&["check", "--since", "HEAD~1"]).expect_code(2);
    assert!(since.stderr.contains("fetch-depth"), "{}", since.stderr);
    let empty = Repository::new();
    let run = |args: &[&str]| empty.cofferdam(args);
    run(&["check"]).expect_code(0);
    run(&["check", "--staged"]).expect_code(0);
    run(&["encrypt", "--staged"]).expect_code(0);
    run(&["status"]).expect_code(1);
    run(&["why", "web/.sops.env"]).expect_code(2);
}
