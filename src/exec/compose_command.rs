//! A command line that runs `docker compose`, by its own words; what a shell or a script runs is not seen.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::exec::compose::Form;

/// A call of compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComposeCommand<'a> {
    program: Program,
    /// The program and all that stands before the sub-command.
    head: &'a [OsString],
    /// The sub-command and all that follows it.
    rest: &'a [OsString],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `docker compose` or `docker-compose`.
    Docker,
    /// Programs that are called alike.
    Other,
}

/// Flags that take the next word, of `docker` and of `docker compose` before the sub-command.
///
/// Source: docker 20.10, `docker --help`; docker compose 2.40.3, `compose --help`.
const WITH_VALUE: [&str; 22] = [
    "-f",
    "--file",
    "-p",
    "--project-name",
    "--project-directory",
    "--env-file",
    "--profile",
    "--ansi",
    "--parallel",
    "--progress",
    "--workdir",
    "--config",
    "--context",
    "-c",
    "-H",
    "--host",
    "-l",
    "--log-level",
    "--tlscacert",
    "--tlscert",
    "--tlskey",
    "--insecure-registry",
];

impl<'a> ComposeCommand<'a> {
    /// The call that these words make; none if they make another.
    pub fn of(command: &'a [OsString]) -> Option<Self> {
        let name = command.first()?.to_string_lossy();
        let (program, is_compose) = match name.rsplit('/').next()? {
            "docker" => (Program::Docker, false),
            "docker-compose" => (Program::Docker, true),
            "podman" | "nerdctl" => (Program::Other, false),
            "podman-compose" => (Program::Other, true),
            _ => return None,
        };
        let mut at = 1;
        if !is_compose {
            at = after_flags(command, at);
            if command.get(at)? != "compose" {
                return None;
            }
            at += 1;
        }
        at = after_flags(command, at);
        let (head, rest) = command.split_at_checked(at)?;
        (!rest.is_empty()).then_some(Self {
            program,
            head,
            rest,
        })
    }

    /// The sub-command.
    pub fn sub_command(&self) -> &'a str {
        self.rest.first().and_then(|w| w.to_str()).unwrap_or("")
    }

    /// The words after the sub-command.
    pub fn words(&self) -> &'a [OsString] {
        self.rest.get(1..).unwrap_or_default()
    }

    /// Whether it may make containers, with mounts that stay: `start` and `restart` only run what was made before.
    pub fn makes_containers(&self) -> bool {
        let makes = matches!(
            self.sub_command(),
            "up" | "create" | "run" | "scale" | "watch"
        );
        makes && self.is_dockers() && !self.asks_for_help()
    }

    /// Whether it may make images, which keep their build arguments.
    pub fn makes_images(&self) -> bool {
        let makes = self.sub_command() == "build";
        self.makes_containers() || (makes && self.is_dockers() && !self.asks_for_help())
    }

    /// The command that has compose itself say, as JSON, what the project is, with further flags before the sub-command.
    pub fn asking(&self, flags: &[&str]) -> Vec<OsString> {
        let head = self.head.iter().filter(|word| *word != "--dry-run");
        let mut words: Vec<OsString> = head.cloned().collect();
        words.extend(flags.iter().map(OsString::from));
        words.extend(["config", "--format", "json"].map(OsString::from));
        words
    }

    /// The folders and files of this machine that `run` mounts by its own flags.
    pub fn mounted_by_flags(&self) -> Vec<PathBuf> {
        if self.sub_command() != "run" {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut words = self.words().iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let value = match word.as_ref() {
                "-v" | "--volume" => words.next(),
                other => other
                    .strip_prefix("--volume=")
                    .or_else(|| other.strip_prefix("-v"))
                    .map(|value| value.to_owned().into()),
            };
            let source = value.as_deref().and_then(|v| v.split_once(':'));
            if let Some((source, _)) = source
                && (source.contains('/') || source.starts_with('.'))
            {
                found.push(PathBuf::from(source));
            }
        }
        found
    }

    /// What it prints of the project, if it is `config`.
    ///
    /// Source: docker compose 2.40.3, `compose config --help`.
    pub fn form(&self) -> Option<Form> {
        if !matches!(self.sub_command(), "config" | "convert") {
            return None;
        }
        let mut form = Form::Yaml;
        let mut words = self.words().iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word.into_owned(), None),
            };
            let value = match value {
                None if matches!(flag.as_str(), "--hash" | "--format" | "-o" | "--output") => {
                    words.next().map(std::borrow::Cow::into_owned)
                }
                value => value,
            };
            match (flag.as_str(), value.as_deref()) {
                ("--format", Some("json")) => form = Form::Json,
                ("--environment", _) => form = Form::Environment,
                ("--output", _) => return Some(Form::File),
                (flag, _) if flag.starts_with("-o") => return Some(Form::File),
                // Names, digests and quiet: masked like any output.
                (
                    "--hash" | "--images" | "--models" | "--networks" | "--profiles" | "--services"
                    | "--variables" | "--volumes" | "--quiet" | "-q",
                    _,
                ) => return None,
                _ => {}
            }
        }
        Some(form)
    }

    fn is_dockers(&self) -> bool {
        self.program == Program::Docker
    }

    fn asks_for_help(&self) -> bool {
        // What follows the service of `run` is the container's.
        let own = match self.sub_command() {
            "run" => &self.words()[..self.words().len().min(1)],
            _ => self.words(),
        };
        own.iter().any(|word| word == "--help" || word == "-h")
    }
}

/// The first word from `at` on that is no flag, nor one's value.
fn after_flags(command: &[OsString], mut at: usize) -> usize {
    while let Some(word) = command.get(at).map(|word| word.to_string_lossy()) {
        if !word.starts_with('-') {
            break;
        }
        at += if WITH_VALUE.contains(&word.as_ref()) {
            2
        } else {
            1
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_is_told_by_its_words() {
        for (line, expected) in [
            (
                "docker compose -p x -f a/config.yaml config",
                Some(Form::Yaml),
            ),
            (
                "/usr/bin/docker --context c compose config",
                Some(Form::Yaml),
            ),
            (
                "docker-compose --env-file config config --format json",
                Some(Form::Json),
            ),
            (
                "docker compose --env-file=x convert --format=json",
                Some(Form::Json),
            ),
            (
                "docker compose config --environment",
                Some(Form::Environment),
            ),
            ("docker compose config -o out.yaml", Some(Form::File)),
            ("docker compose config --output=out.yaml", Some(Form::File)),
            ("docker compose config -oout.yaml", Some(Form::File)),
            ("podman compose config", Some(Form::Yaml)),
            ("docker compose config --images", None),
            ("docker compose -f config up", None),
            ("docker compose up config", None),
            ("docker config ls", None),
            ("sh -c config", None),
            ("docker compose -f", None),
            ("docker", None),
        ] {
            let words = words(line);
            let form = ComposeCommand::of(&words).and_then(|c| c.form());
            assert_eq!(form, expected, "{line}");
        }
    }

    #[test]
    fn what_makes_containers_and_images() {
        for (line, containers, images) in [
            ("docker compose up -d", true, true),
            ("docker compose -p x -f build up", true, true),
            ("docker-compose run app sh --help", true, true),
            ("docker compose create", true, true),
            ("docker compose scale app=2", true, true),
            ("docker compose build", false, true),
            ("docker compose up --help", false, false),
            ("docker compose run --help", false, false),
            ("docker compose pull", false, false),
            ("docker compose restart", false, false),
            ("docker compose exec app up", false, false),
            // They cannot say what the project is.
            ("podman-compose up", false, false),
        ] {
            let words = words(line);
            let command = ComposeCommand::of(&words).unwrap();
            assert_eq!(command.makes_containers(), containers, "{line}");
            assert_eq!(command.makes_images(), images, "{line}");
        }
    }

    #[test]
    fn compose_is_asked_in_its_own_words() {
        let line = words("docker -H h compose --dry-run -f a.yaml --profile p up -d app");
        let command = ComposeCommand::of(&line).unwrap();
        let asked = command.asking(&["--profile", "*"]);
        let expected = "docker -H h compose -f a.yaml --profile p --profile * config --format json";
        assert_eq!(asked, words(expected));
        let line =
            words("docker compose run -v ./a:/b --volume=/c:/d:ro -v name:/e -v/f:/g app -x");
        let mounted = ComposeCommand::of(&line).unwrap().mounted_by_flags();
        assert_eq!(mounted, ["./a", "/c", "/f"].map(PathBuf::from));
    }
}
