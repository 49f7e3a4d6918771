//! `cofferdam exec` around a real docker compose and a real dockerd, run as Komodo's periphery runs it: containers get exact
//! values, the periphery keeps none, and no disk sees one but where dockerd itself writes.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::dockerd::Dockerd;
use crate::support::homeops::fixture;
use crate::support::runtime::Stack;
use crate::support::{COFFERDAM, Ran, Sandbox, find_program, have_peers, tests_folder};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A host: a dockerd, and the periphery beside it with `cofferdam` and `docker compose` on its PATH.
struct Host {
    dockerd: Dockerd,
    sandbox: Sandbox,
}

impl Host {
    fn start(images: &[&str]) -> Option<Self> {
        if !have_peers(&["docker-compose", "unshare", "mount", "python3", "bash"]) {
            return None;
        }
        let dockerd = Dockerd::start()?;
        dockerd.import("box", &[]);
        for image in images.iter().chain(&["box:1"]) {
            dockerd.docker(&["tag", "box", image]).expect_code(0);
        }
        let sandbox = Sandbox::new();
        let plugins = dockerd.folder().join("cli-plugins");
        std::fs::create_dir(&plugins).unwrap();
        let compose = find_program("docker-compose").unwrap();
        std::os::unix::fs::symlink(compose, plugins.join("docker-compose")).unwrap();
        for folder in ["bin", "state", "logs"] {
            std::fs::create_dir(sandbox.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink(COFFERDAM, sandbox.path().join("bin/cofferdam")).unwrap();
        Some(Self { dockerd, sandbox })
    }

    /// A program with a `/run` in memory of its own, and a `/var/lib` that lasts.
    fn command(&self, program: &Path, key: &Path, folder: &Path) -> Command {
        let mut command = self.sandbox.command("unshare", folder);
        let path = command.get_envs().find(|(name, _)| *name == "PATH");
        let path = path.unwrap().1.unwrap().to_owned();
        let mut all = self.sandbox.path().join("bin").into_os_string();
        all.push(":");
        all.push(path);
        let script = "mount -t tmpfs -o mode=0755 none /run && mount --bind \"$1\" /var/lib && shift && exec \"$@\"";
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(self.sandbox.path().join("state"))
            .arg(program)
            .env("PATH", all)
            .env("SOPS_AGE_KEY_FILE", key)
            .env("DOCKER_HOST", self.dockerd.host())
            .env("DOCKER_CONFIG", self.dockerd.folder());
        command
    }

    /// Deploys as the periphery does; how it ended.
    fn deploy(&self, stack: &Komodo, root: &Path, key: &Path, steps: &str) -> Ran {
        let script = tests_folder().join("support/periphery.sh");
        let mut command = self.command(&script, key, Path::new("/"));
        command
            .arg(root)
            .arg(self.logs())
            .args([&stack.name, &stack.files, &stack.wrapper, &stack.include])
            .args([&stack.pre_path, &stack.pre_command])
            .arg(steps);
        Ran::of(&mut command)
    }

    fn logs(&self) -> PathBuf {
        self.sandbox.path().join("logs")
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.logs().join(name)).unwrap_or_default()
    }

    /// All that the periphery kept of a step, and its code.
    fn said(&self, step: &str) -> String {
        let part = |end: &str| self.log(&format!("{step}.{end}"));
        format!("{}{}{}", part("code"), part("out"), part("err"))
    }

    /// The environment of a container's first process, from outside.
    fn environment(&self, container: &str) -> BTreeMap<String, Vec<u8>> {
        let pid = self.inspect(container, "{{.State.Pid}}");
        let text = std::fs::read(Path::new("/proc").join(pid).join("environ")).unwrap();
        let pairs = text.split(|b| *b == 0).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let at = pair.iter().position(|b| *b == b'=').unwrap();
                let name = String::from_utf8(pair[..at].to_vec()).unwrap();
                (name, pair[at + 1..].to_vec())
            })
            .collect()
    }

    fn inspect(&self, container: &str, format: &str) -> String {
        let ran = self
            .dockerd
            .docker(&["inspect", "--format", format, container]);
        ran.expect_code(0).stdout.trim().to_owned()
    }

    /// A path in the daemon's folder, for messages, with what is random in it left out.
    fn below(&self, path: &str) -> String {
        let own = self.dockerd.folder().to_str().unwrap();
        path.strip_prefix(own).unwrap_or(path).to_owned()
    }
}

/// What Komodo knows of a stack.
#[derive(Debug, Default)]
struct Komodo {
    name: String,
    files: String,
    wrapper: String,
    include: String,
    pre_path: String,
    pre_command: String,
}

impl Komodo {
    fn wrapped(name: &str, files: &str, wrapper: &str) -> Self {
        Self {
            name: name.to_owned(),
            files: files.to_owned(),
            wrapper: wrapper.to_owned(),
            include: "config build pull up run".to_owned(),
            ..Self::default()
        }
    }

    /// The stacks of a Komodo file.
    fn all_of(text: &str) -> Vec<Self> {
        let file: toml_edit::DocumentMut = text.parse().unwrap();
        let Some(stacks) = file.get("stack").and_then(|s| s.as_array_of_tables()) else {
            return Vec::new();
        };
        let words = |item: Option<&toml_edit::Item>| {
            let items = item.and_then(|i| i.as_array()).into_iter().flatten();
            let words: Vec<&str> = items.filter_map(|i| i.as_str()).collect();
            words.join(" ")
        };
        stacks
            .iter()
            .map(|stack| {
                let config = &stack["config"];
                let text = |item: Option<&toml_edit::Item>| {
                    item.and_then(|i| i.as_str()).unwrap_or_default().to_owned()
                };
                let pre = config.get("pre_deploy");
                Self {
                    name: text(stack.get("name")),
                    files: words(config.get("file_paths")),
                    wrapper: text(config.get("compose_cmd_wrapper")),
                    include: words(config.get("compose_cmd_wrapper_include")),
                    pre_path: text(pre.and_then(|p| p.get("path"))),
                    pre_command: text(pre.and_then(|p| p.get("command"))),
                }
            })
            .collect()
    }
}

/// A watch on all disks for texts.
struct Watch {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    _texts: tempfile::NamedTempFile,
}

impl Watch {
    fn begin(texts: &[String]) -> Self {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        std::fs::write(file.path(), texts.join("\n")).unwrap();
        let mut child = Command::new("python3")
            .arg(tests_folder().join("support/disk_watch.py"))
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "no watch");
        }
        Self {
            child,
            lines,
            _texts: file,
        }
    }

    /// The files in which a text was seen; with who wrote them, as far as it can be told.
    fn end(mut self) -> Vec<(String, String)> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{text}");
        let looked = text.lines().last().and_then(|l| l.strip_prefix("looked "));
        let looked: usize = looked.unwrap().parse().unwrap();
        assert!(looked > 20, "hardly anything was seen to be written");
        let found = text.lines().filter_map(|line| {
            let mut fields = line.strip_prefix("found\t")?.split('\t');
            Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
        });
        found.collect()
    }
}

/// The files below `folder` that hold one of these texts.
fn files_with(folder: &Path, texts: &[String]) -> Vec<String> {
    let list = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    std::fs::write(list.path(), texts.join("\n")).unwrap();
    let mut grep = Command::new("grep");
    grep.args(["-r", "-F", "-a", "-l", "-s", "-f"])
        .arg(list.path());
    let found = Ran::of(grep.arg(folder));
    found.stdout.lines().map(str::to_owned).collect()
}

/// Where dockerd and containerd keep an environment, and runc for a moment: the places that the documentation names.
fn is_dockerds_own(path: &str) -> bool {
    let ends = |end: &str| path.ends_with(end);
    (path.starts_with("/d/containers/") && path.contains("config.v2.json"))
        || ends("/io.containerd.metadata.v1.bolt/meta.db")
        || (path.starts_with("/e/") && ends("/config.json"))
        || path.starts_with("/tmp/runc-process")
}

/// Values with everything that programs stumble over, each with a mark of its own that is on no disk.
struct Values {
    marks: Vec<String>,
    pairs: Vec<(&'static str, String)>,
}

impl Values {
    fn new() -> Self {
        let mut random = StdRng::from_entropy();
        let mut marks = Vec::new();
        let mut mark = || {
            let mark = format!("mark{:016x}", random.r#gen::<u64>());
            marks.push(mark.clone());
            mark
        };
        let pairs = vec![
            ("DOLLAR", format!("{} a$b $$c ${{HOME}} $(id)", mark())),
            ("QUOTES", format!("it's \"{}\" `q` \\n \\\\", mark())),
            ("HASH", format!("{} #no comment#", mark())),
            ("LINES", format!("one\n{}\n\nthree\r\n", mark())),
            ("UNICODE", format!("pässwörd ✓ {} 🔑\u{301}", mark())),
            (
                "LONG",
                format!("{}{}", mark(), "0123456789abcdef".repeat(4096)),
            ),
            ("BLANKS", format!("  {} \t ", mark())),
            ("EQUALS", format!("=={}==", mark())),
            ("EMPTY", String::new()),
        ];
        Self { marks, pairs }
    }
}

#[test]
fn env_mode_gives_exact_values_and_keeps_none() {
    let Some(host) = Host::start(&[]) else { return };
    let values = Values::new();
    let stack = Stack::new();
    let pairs: Vec<(&str, &str)> = values.pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
    stack.write_json("app.sops.json", &pairs);
    let names: String = pairs
        .iter()
        .map(|(name, _)| format!("      - {name}\n"))
        .collect();
    let compose = format!(
        "services:\n  app:\n    image: box:1\n    container_name: env-app\n    network_mode: none\n    stop_grace_period: 0s\n    command: [sleep, '3600']\n    \
         labels:\n      note: \"$EQUALS\"\n    environment:\n{names}"
    );
    std::fs::write(stack.folder().join("compose.yaml"), compose).unwrap();
    let komodo = Komodo::wrapped(
        "env",
        "stack/compose.yaml",
        "cofferdam exec --file stack/app.sops.json -- [[COMPOSE_COMMAND]]",
    );
    let root = stack.sandbox.path();
    let watch = Watch::begin(&values.marks);
    let deployed = host.deploy(&komodo, root, &stack.key_file(), "config build pull up run");
    for step in ["config", "build", "pull", "up", "run"] {
        let said = host.said(step);
        assert!(said.starts_with("0\n"), "{step}: {said}");
    }
    deployed.expect_code(0);
    let environment = host.environment("env-app");
    for (name, value) in &pairs {
        assert_eq!(
            environment.get(*name).map(Vec::as_slice),
            Some(value.as_bytes()),
            "{name}"
        );
    }
    assert_eq!(
        host.inspect("env-app", "{{index .Config.Labels \"note\"}}"),
        pairs[7].1
    );
    let found = watch.end();
    assert!(
        found
            .iter()
            .any(|(path, _)| path.contains("config.v2.json")),
        "the watch is blind: {found:?}"
    );
    for (path, program) in &found {
        assert!(
            is_dockerds_own(&host.below(path)),
            "{path}, written by {program}"
        );
    }
    no_value_is_left(&host, &stack.sandbox, &values.marks);
    let config: serde_yaml::Value = serde_yaml::from_str(&host.log("config.out")).unwrap();
    assert_eq!(config["services"]["app"]["image"], "box:1");
}

/// Nothing but dockerd's own files holds a value: not the clone, the periphery's folder with its logs, its home, or `/tmp`.
#[track_caller]
fn no_value_is_left(host: &Host, clone: &Sandbox, marks: &[String]) {
    for folder in [host.sandbox.path(), clone.path()] {
        assert_eq!(files_with(folder, marks), Vec::<String>::new());
    }
    for path in files_with(host.dockerd.folder(), marks) {
        assert!(is_dockerds_own(&host.below(&path)), "{path}");
    }
    let others: Vec<String> = ["/tmp", "/var/tmp"]
        .iter()
        .flat_map(|folder| recent(Path::new(folder)))
        .flat_map(|path| files_with(&path, marks))
        .collect();
    assert_eq!(others, Vec::<String>::new());
}

/// Files right in a folder; the folders in it belong to others, or were searched.
fn recent(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    paths.map(|e| e.path()).collect()
}

#[test]
fn files_mode_gives_what_compose_makes_of_the_plaintext() {
    let Some(host) = Host::start(&[]) else { return };
    let values = Values::new();
    let stack = Stack::new();
    let mark = |n: usize| &values.marks[n];
    let plain = format!(
        "DOLLAR={} a$b ${{HOME}} x$$y\nQUOTES=\"{} it's \\\"q\\\" \\n\"\nSINGLE='{} $x \\n'\nHASH={} #no comment\nTIGHT={}#all\nUNICODE=pässwörd ✓ {} 🔑\n\
         LONG={}{}\nEQUALS=={}\nEMPTY=\nREFERS=${{HASH}}-x\n",
        mark(0),
        mark(1),
        mark(2),
        mark(3),
        mark(4),
        mark(5),
        mark(6),
        "0123456789abcdef".repeat(4096),
        mark(7),
    );
    stack.write(".sops.env", &plain);
    // Compose reads no longer lines in this format.
    let short: String = plain
        .lines()
        .filter(|l| !l.starts_with("LONG"))
        .collect::<Vec<_>>()
        .join("\n");
    stack.write("raw.sops.env", &short);
    let compose = "services:\n  app:\n    image: box:1\n    container_name: files-app\n    network_mode: none\n    stop_grace_period: 0s\n    command: [sleep, '3600']\n    env_file: .env\n  \
                   raw:\n    image: box:1\n    container_name: files-raw\n    network_mode: none\n    stop_grace_period: 0s\n    command: [sleep, '3600']\n    env_file:\n      - {path: raw.env, format: raw}\n";
    std::fs::write(stack.folder().join("compose.yaml"), compose).unwrap();

    // The same by compose alone on a plain file, in memory.
    let reference = Sandbox::new_in(Path::new("/dev/shm"));
    for (document, name) in [(".sops.env", ".env"), ("raw.sops.env", "raw.env")] {
        let text = Ran::of(stack.cofferdam().args(["decrypt", document])).expect_code(0);
        std::fs::write(reference.path().join(name), &text.stdout_bytes).unwrap();
    }
    std::fs::write(reference.path().join("compose.yaml"), compose).unwrap();
    let mut config = reference.command("docker-compose", reference.path());
    let config = Ran::of(config.args(["config", "--format", "json"])).expect_code(0);
    let config: serde_json::Value = serde_json::from_str(&config.stdout).unwrap();

    let komodo = Komodo::wrapped(
        "files",
        "stack/compose.yaml",
        "# values from memory\ncofferdam exec --dir stack \\\n  -- [[COMPOSE_COMMAND]] # for all",
    );
    let root = stack.sandbox.path();
    let watch = Watch::begin(&values.marks);
    let deployed = host.deploy(&komodo, root, &stack.key_file(), "config build pull up run");
    for step in ["config", "build", "pull", "up", "run"] {
        let said = host.said(step);
        assert!(said.starts_with("0\n"), "{step}: {said}");
    }
    deployed.expect_code(0);
    // `HOME` is the periphery's.
    let home = |text: &str| {
        let theirs = reference.home();
        text.replace(
            theirs.to_str().unwrap(),
            host.sandbox.home().to_str().unwrap(),
        )
    };
    for (service, container) in [("app", "files-app"), ("raw", "files-raw")] {
        let environment = host.environment(container);
        let expected = config["services"][service]["environment"]
            .as_object()
            .unwrap();
        assert!(expected.len() >= 9);
        for (name, value) in expected {
            let value = home(&value.as_str().unwrap_or_default().replace("$$", "$"));
            assert_eq!(
                environment
                    .get(name)
                    .map(|v| String::from_utf8_lossy(v).into_owned()),
                Some(value),
                "{service} {name}"
            );
        }
    }
    for (path, program) in watch.end() {
        assert!(
            is_dockerds_own(&host.below(&path)),
            "{path}, written by {program}"
        );
    }
    no_value_is_left(&host, &stack.sandbox, &values.marks);
    assert!(!stack.folder().join(".env").is_symlink());
}

#[test]
fn a_container_is_made_anew_for_new_values_only() {
    let Some(host) = Host::start(&[]) else { return };
    let stack = Stack::new();
    let service = |name: &str| {
        format!(
            "  {name}:\n    image: box:1\n    container_name: digest-{name}\n    network_mode: none\n    stop_grace_period: 0s\n    command: [sleep, '3600']\n"
        )
    };
    let compose = format!(
        "services:\n{}    labels: {{cofferdam.digest: \"${{COFFERDAM_DIGEST:-}}\"}}\n{}",
        service("app"),
        service("other")
    );
    std::fs::write(stack.folder().join("compose.yaml"), compose).unwrap();
    let komodo = Komodo::wrapped(
        "digest",
        "stack/compose.yaml",
        "cofferdam exec --dir stack -- [[COMPOSE_COMMAND]]",
    );
    let deploy = || {
        let ran = host.deploy(
            &komodo,
            stack.sandbox.path(),
            &stack.key_file(),
            "config up",
        );
        assert_eq!(ran.code, Some(0), "{}", host.said("up"));
        ["digest-app", "digest-other"].map(|name| host.inspect(name, "{{.Id}}"))
    };
    stack.write("password.sops.txt", "first-secret-value");
    let first = deploy();
    let label = host.inspect(
        "digest-app",
        "{{index .Config.Labels \"cofferdam.digest\"}}",
    );
    assert_eq!(label.len(), 32, "{label}");
    // What the periphery shows of the project is what is deployed.
    assert!(host.log("config.out").contains(&label));
    assert_eq!(deploy(), first);
    // New data key, new ciphertext, the same value.
    stack.write("password.sops.txt", "first-secret-value");
    assert_eq!(deploy(), first);
    stack.write("password.sops.txt", "second-secret-value");
    let second = deploy();
    assert_ne!(second[0], first[0]);
    assert_eq!(second[1], first[1]);
    // The key is this host's: another one gives another digest, and its file is private.
    let key = host.sandbox.path().join("state/cofferdam/digest.key");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&key).unwrap());
    assert_eq!(mode & 0o7777, 0o600);
    std::fs::remove_file(&key).unwrap();
    assert_ne!(deploy()[0], second[0]);
}

#[test]
fn the_sample_is_deployed_by_its_migrated_wrappers() {
    let images = ["vaultwarden/server:1.37.1", "alpine:3.21"];
    let Some(host) = Host::start(&images) else {
        return;
    };
    let sandbox = Sandbox::new();
    let bundle = fixture("homeops.bundle");
    let bundle = bundle.to_str().unwrap();
    sandbox.git(sandbox.path(), &["clone", "-q", "-b", "main", bundle, "r"]);
    let root = sandbox.path().join("r");
    let key = sandbox.path().join("keys.txt");
    std::fs::copy(fixture("shared-key.txt"), &key).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    Ran::of(
        sandbox
            .command(COFFERDAM, &root)
            .args(["migrate", "komodo", "--yes"]),
    )
    .expect_code(0);
    // Every value of the sample that is long enough to be told.
    let expected = std::fs::read_to_string(fixture("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let mut stacks = Vec::new();
    for entry in std::fs::read_dir(root.join("docker/komodo-resources")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        stacks.extend(Komodo::all_of(&text));
    }
    let wrapped: Vec<&Komodo> = stacks.iter().filter(|s| !s.wrapper.is_empty()).collect();
    assert!(wrapped.len() >= 15, "{}", wrapped.len());
    let mut marks: Vec<String> = Vec::new();
    for (document, text) in expected.as_object().unwrap() {
        let is_env = document.starts_with("docker/") && document.ends_with(".env");
        let lines = text.as_str().into_iter().filter(|_| is_env);
        let pairs = lines.flat_map(str::lines).filter_map(|l| l.split_once('='));
        marks.extend(pairs.map(|(_, value)| value.to_owned()));
    }
    marks.retain(|mark| mark.len() >= 12);
    assert!(marks.len() > 20, "{}", marks.len());
    // Each project is shown without values, whatever the stack.
    for stack in &wrapped {
        let ran = host.deploy(stack, &root, &key, "config");
        assert_eq!(ran.code, Some(0), "{}: {}", stack.name, host.said("config"));
        let config = host.log("config.out");
        serde_yaml::from_str::<serde_yaml::Value>(&config).unwrap();
        assert!(config.contains("image:"), "{}: {config}", stack.name);
    }
    // One mounts its plaintext: that would be gone after the deployment.
    let frigate = wrapped.iter().find(|s| s.name == "frigate").unwrap();
    host.deploy(frigate, &root, &key, "config up")
        .expect_code(1);
    let said = host.said("up");
    assert!(said.starts_with("125\n"), "{said}");
    assert!(
        said.contains("the service frigate would mount docker/stacks/nvr/frigate/.json"),
        "{said}"
    );
    assert!(
        said.contains("hint: cofferdam unseal --dir docker/stacks/nvr/frigate "),
        "{said}"
    );
    assert_eq!(host.dockerd.docker(&["ps", "--all", "--quiet"]).stdout, "");
    // One is deployed; its containers need no network.
    let folder = "docker/stacks/server04/vaultwarden";
    let over = "services:\n  vaultwarden: {container_name: vw, network_mode: none, command: [sleep, '3600'], stop_grace_period: 0s}\n  \
                backup: {container_name: vw-backup, network_mode: none, command: [sleep, '3600'], stop_grace_period: 0s}\n";
    std::fs::write(root.join(folder).join("over.yaml"), over).unwrap();
    let stack = wrapped.iter().find(|s| s.name == "vaultwarden").unwrap();
    let stack = Komodo {
        files: format!("{} {folder}/over.yaml", stack.files),
        ..Komodo::wrapped(&stack.name, "", &stack.wrapper)
    };
    let ran = host.deploy(&stack, &root, &key, "config up");
    assert_eq!(ran.code, Some(0), "{}{}", ran.stderr, host.said("up"));
    for (container, document) in [("vw", ".sops.env"), ("vw-backup", "backup.sops.env")] {
        let environment = host.environment(container);
        let path = root.join(folder).join(document);
        let mut decrypt = sandbox.command(COFFERDAM, &root);
        decrypt
            .env("SOPS_AGE_KEY_FILE", &key)
            .arg("decrypt")
            .arg(path);
        let plain = Ran::of(&mut decrypt).expect_code(0).stdout;
        let keys = plain.lines().filter_map(|line| line.split_once('='));
        assert!(keys.clone().count() > 0);
        for (name, _) in keys {
            assert!(environment.contains_key(name), "{container} {name}");
        }
    }
    for folder in [host.sandbox.path(), sandbox.path()] {
        assert_eq!(files_with(folder, &marks), Vec::<String>::new());
    }
}

/// Runs a script in a container that holds nothing but busybox, the binary, and a stack; what it printed.
fn in_container(host: &Host, stack: &Stack, options: &[&str], script: &str) -> Ran {
    let mount = format!("{}:/s", stack.sandbox.path().display());
    let mut args = vec!["run", "--rm", "--network", "none", "--volume", &mount];
    args.extend([
        "--workdir",
        "/s/stack",
        "--env",
        "SOPS_AGE_KEY_FILE=/s/keys.txt",
    ]);
    args.extend(options);
    args.extend(["own", "/bin/sh", "-c", script]);
    host.dockerd.docker(&args)
}

#[test]
fn containers_have_memory_or_nothing_is_written() {
    let Some(host) = Host::start(&[]) else { return };
    host.dockerd.import("own", &[Path::new(COFFERDAM)]);
    let mark = format!("mark{:016x}", StdRng::from_entropy().r#gen::<u64>());
    let stack = Stack::new();
    stack.write(".sops.env", &format!("A={mark}\n"));
    let watch = Watch::begin(std::slice::from_ref(&mark));
    // A default container, and one without any right: no mount, and `/run` is on disk.
    let show = "mkdir -p /run; cofferdam exec --dir . -- sh -c 'readlink .env; test -s .env'; echo $?; ls -A /run /dev/shm/cofferdam-0; ls -A | grep -c '^.env$'";
    for options in [
        &[][..],
        &["--cap-drop=ALL", "--security-opt=no-new-privileges"],
    ] {
        let ran = in_container(&host, &stack, options, show);
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert!(
            lines
                .first()
                .is_some_and(|l| l.starts_with("/dev/shm/cofferdam-0/exec.stack.")),
            "{ran:?}"
        );
        assert_eq!(
            lines[1..],
            ["0", "/dev/shm/cofferdam-0:", "gate", "", "/run:", "0"],
            "{ran:?}"
        );
    }
    // What the documentation says to give it.
    let ran = in_container(
        &host,
        &stack,
        &["--tmpfs=/run/cofferdam:mode=0700,size=1m"],
        show,
    );
    assert!(
        ran.stdout.starts_with("/run/cofferdam/exec.stack."),
        "{ran:?}"
    );
    // No memory at all.
    let ran = in_container(
        &host,
        &stack,
        &["--ipc=none"],
        "cofferdam exec --dir . -- touch ran; echo $?; ls -A",
    );
    assert_eq!(ran.stdout, "125\n.sops.env\n", "{ran:?}");
    assert!(ran.stderr.contains("hint: mount a tmpfs"), "{ran:?}");
    // Too little.
    let ran = in_container(
        &host,
        &stack,
        &["--tmpfs=/run/cofferdam:mode=0700,size=4k"],
        "cofferdam exec --dir . -- touch ran; echo $?; ls -A . /run/cofferdam",
    );
    assert!(ran.stdout.starts_with("125\n"), "{ran:?}");
    assert!(
        !ran.stdout.contains("ran") && !ran.stdout.contains("exec."),
        "{ran:?}"
    );
    assert_eq!(watch.end(), []);
    assert_eq!(
        files_with(host.dockerd.folder(), std::slice::from_ref(&mark)),
        Vec::<String>::new()
    );
}

#[test]
fn out_of_memory_leaves_nothing() {
    let Some(host) = Host::start(&[]) else { return };
    host.dockerd.import("own", &[Path::new(COFFERDAM)]);
    let stack = Stack::new();
    stack.write(".sops.env", "A=a-secret-value\n");
    let limit = ["--memory=64m", "--memory-swap=64m"];
    let probe = in_container(&host, &stack, &limit, "tail /dev/zero; echo $?");
    if probe.stdout != "137\n" {
        println!("skipped: no memory limit here: {probe:?}");
        return;
    }
    let after = "echo $?; cofferdam exec --dir . -- true; ls -A /dev/shm/cofferdam-0 . ; for p in /proc/[0-9]*; do grep -aq '^tail' $p/cmdline && echo orphan; done; true";
    let clean = ".:\n.sops.env\n\n/dev/shm/cofferdam-0:\ngate\n";
    // The program: the wrapper says so, and cleans up.
    let script = format!("cofferdam exec --dir . -- tail /dev/zero; {after}");
    let ran = in_container(&host, &stack, &limit, &script);
    assert_eq!(ran.stdout, format!("137\n{clean}"), "{ran:?}");
    // The wrapper, as the kernel's first choice, and then whoever else is in the way.
    let script = format!(
        "sh -c 'echo 1000 > /proc/self/oom_score_adj; exec cofferdam exec --dir . -- sh -c \"echo 0 > /proc/self/oom_score_adj; exec tail /dev/zero\"'; {after}"
    );
    let ran = in_container(&host, &stack, &limit, &script);
    assert_eq!(ran.stdout, format!("137\n{clean}"), "{ran:?}");
}
