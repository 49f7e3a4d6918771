//! The user's SSH configuration, as far as this transport follows it. Pure: files are read by whoever calls.
//!
//! Keywords that only change how `ssh` behaves are passed over. One that decides where a connection goes or which host key
//! counts, and that cannot be followed, is an error: a connection is never made by half a configuration.
//!
//! Source: ssh_config(5) of OpenSSH 9.2; `settings_are_those_that_ssh_tells()` compares with `ssh -G`.

use std::collections::BTreeMap;

use super::known_hosts::fits;

/// What cannot be followed, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotFollowed {
    pub(super) what: String,
    /// `FILE line NUMBER`, or the variable.
    pub(super) at: String,
}

/// Reads the files that an `Include` names: each one's name and text; or says what is in the way.
pub(super) type Includes<'a> = &'a dyn Fn(&str) -> Result<Vec<(String, String)>, String>;

/// How to reach one host. Paths are as written: `~` and `%` are the reader's to fill in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The name that was asked for.
    pub(super) alias: String,
    pub(super) host_name: String,
    pub(super) port: u16,
    /// None: the user here.
    pub(super) user: Option<String>,
    /// Empty: the usual ones.
    pub(super) identity_files: Vec<String>,
    pub(super) identities_only: bool,
    /// None: the one in `SSH_AUTH_SOCK`.
    pub(super) identity_agent: Option<String>,
    /// Files of known hosts, the user's and the system's; none: the usual ones.
    pub(super) known_hosts: [Option<Vec<String>>; 2],
    /// The name that stands in the list of known hosts.
    pub(super) key_alias: Option<String>,
    /// Names of host key algorithms; empty: the usual ones.
    pub(super) host_key_algorithms: Vec<String>,
    /// Hosts to go through, the nearest first: `[user@]host[:port]`.
    pub(super) jumps: Vec<String>,
}

/// Keywords of which the first value counts.
const FIRST_COUNTS: [&str; 11] = [
    "hostname",
    "port",
    "user",
    "identitiesonly",
    "identityagent",
    "userknownhostsfile",
    "globalknownhostsfile",
    "hostkeyalias",
    "hostkeyalgorithms",
    "canonicalizehostname",
    "revokedhostkeys",
];
/// As deep as `ssh` itself goes.
const INCLUDE_DEPTH: usize = 16;

/// Collects what applies to one host, file by file, in the order in which they count.
pub(super) struct Collector {
    alias: String,
    values: BTreeMap<&'static str, (Vec<String>, String)>,
    identity_files: Vec<String>,
    /// The first of ProxyJump and ProxyCommand.
    proxy: Option<Proxy>,
}

enum Proxy {
    Jump(String),
    Command { is_none: bool, at: String },
}

impl Collector {
    /// Begins with an address: `[user@]host`.
    pub(super) fn new(address: &str) -> Self {
        let (user, alias) = match address.rsplit_once('@') {
            Some((user, alias)) => (Some(user), alias),
            None => (None, address),
        };
        let mut collector = Self {
            alias: alias.to_owned(),
            values: BTreeMap::new(),
            identity_files: Vec::new(),
            proxy: None,
        };
        if let Some(user) = user {
            collector.first("user", &[user.to_owned()], "its address");
        }
        collector
    }

    /// Sets a value before any file does.
    pub(super) fn set(&mut self, line: &str, at: &str) -> Result<(), NotFollowed> {
        if let Some((keyword, arguments)) = words(line, at)? {
            if matches!(keyword.as_str(), "host" | "match" | "include") {
                return Err(not_followed(&keyword, at));
            }
            self.line(&keyword, &arguments, at);
        }
        Ok(())
    }

    /// Reads one file's text.
    pub(super) fn file(
        &mut self,
        name: &str,
        text: &str,
        includes: Includes,
    ) -> Result<(), NotFollowed> {
        self.nested(name, text, includes, 0)
    }

    fn nested(
        &mut self,
        name: &str,
        text: &str,
        includes: Includes,
        depth: usize,
    ) -> Result<(), NotFollowed> {
        let mut applies = true;
        for (number, line) in (1..).zip(text.lines()) {
            let at = format!("{name} line {number}");
            let Some((keyword, arguments)) = words(line, &at)? else {
                continue;
            };
            match keyword.as_str() {
                "host" => applies = one_of(&arguments, &self.alias),
                "match" => applies = self.matches(&arguments, &at)?,
                "include" if applies => {
                    if depth == INCLUDE_DEPTH {
                        return Err(not_followed("an Include that goes too deep", &at));
                    }
                    for pattern in &arguments {
                        let files = includes(pattern).map_err(|what| not_followed(&what, &at))?;
                        for (name, text) in files {
                            self.nested(&name, &text, includes, depth + 1)?;
                        }
                    }
                }
                _ if applies => self.line(&keyword, &arguments, &at),
                _ => {}
            }
        }
        Ok(())
    }

    fn line(&mut self, keyword: &str, arguments: &[String], at: &str) {
        match keyword {
            "identityfile" => {
                for file in arguments {
                    if !self.identity_files.contains(file) {
                        self.identity_files.push(file.clone());
                    }
                }
            }
            "proxyjump" if self.proxy.is_none() => {
                self.proxy = Some(Proxy::Jump(arguments.join(",")));
            }
            "proxycommand" if self.proxy.is_none() => {
                self.proxy = Some(Proxy::Command {
                    is_none: arguments.first().is_some_and(|word| is_none(word)),
                    at: at.to_owned(),
                });
            }
            _ => {
                if let Some(keyword) = FIRST_COUNTS.into_iter().find(|known| *known == keyword) {
                    self.first(keyword, arguments, at);
                }
            }
        }
    }

    fn first(&mut self, keyword: &'static str, arguments: &[String], at: &str) {
        let value = (arguments.to_vec(), at.to_owned());
        self.values.entry(keyword).or_insert(value);
    }

    /// Whether a `Match` line applies; only criteria that ask for the host's name are known here.
    fn matches(&self, arguments: &[String], at: &str) -> Result<bool, NotFollowed> {
        let mut applies = true;
        let mut rest = arguments.iter();
        while let Some(criterion) = rest.next() {
            let (is_not, name) = match criterion.strip_prefix('!') {
                Some(name) => (true, name),
                None => (false, criterion.as_str()),
            };
            let subject = match name.to_ascii_lowercase().as_str() {
                "all" if !is_not => continue,
                "host" => self.host_name().unwrap_or_else(|| self.alias.clone()),
                "originalhost" => self.alias.clone(),
                name => return Err(not_followed(&format!("Match {name}"), at)),
            };
            let patterns = rest
                .next()
                .ok_or_else(|| not_followed("a Match without its patterns", at))?;
            // Here, unlike for `Host`, capital letters are as good as small ones.
            let patterns = patterns.to_ascii_lowercase();
            let patterns: Vec<String> = patterns.split(',').map(str::to_owned).collect();
            applies &= one_of(&patterns, &subject.to_ascii_lowercase()) != is_not;
        }
        Ok(applies)
    }

    fn host_name(&self) -> Option<String> {
        let name = self.values.get("hostname")?.0.first()?;
        let name = name.replace("%h", &self.alias);
        Some(name.replace("%%", "%").to_ascii_lowercase())
    }

    /// What applies, once all is read.
    pub(super) fn finish(mut self) -> Result<Settings, NotFollowed> {
        let jumps = match self.proxy.take() {
            Some(Proxy::Command { is_none: false, at }) => {
                return Err(not_followed("ProxyCommand", &at));
            }
            Some(Proxy::Jump(hops)) if !is_none(&hops) => hops
                .split(',')
                .map(|hop| hop.trim().to_owned())
                .filter(|hop| !hop.is_empty())
                .collect(),
            _ => Vec::new(),
        };
        for (keyword, shown) in [
            ("canonicalizehostname", "CanonicalizeHostname"),
            ("revokedhostkeys", "RevokedHostKeys"),
        ] {
            if let Some((value, at)) = self.values.get(keyword) {
                let value = value.first().map_or("", String::as_str);
                if !is_none(value) && !value.eq_ignore_ascii_case("no") {
                    return Err(not_followed(shown, at));
                }
            }
        }
        let port = match self.values.get("port") {
            None => 22,
            Some((value, at)) => value
                .first()
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| not_followed("a Port that is no number", at))?,
        };
        let host_name = self
            .host_name()
            .unwrap_or_else(|| self.alias.to_ascii_lowercase());
        if host_name.contains('%') {
            return Err(not_followed("a HostName with tokens", &self.alias));
        }
        let all = |keyword| self.values.get(keyword).map(|(value, _)| value.clone());
        let one = |keyword| all(keyword).and_then(|value| value.into_iter().next());
        let algorithms = one("hostkeyalgorithms").unwrap_or_default();
        Ok(Settings {
            host_name,
            port,
            user: one("user"),
            identities_only: one("identitiesonly").is_some_and(|word| is_yes(&word)),
            identity_agent: one("identityagent"),
            known_hosts: ["userknownhostsfile", "globalknownhostsfile"].map(all),
            key_alias: one("hostkeyalias"),
            // Changes to the default list concern algorithms that are not offered here.
            host_key_algorithms: if algorithms.starts_with(['+', '-', '^']) {
                Vec::new()
            } else {
                algorithms
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(str::to_owned)
                    .collect()
            },
            jumps,
            identity_files: self.identity_files,
            alias: self.alias,
        })
    }
}

/// Splits a jump, `[user@]host[:port]` or `ssh://…`, into an address and a port.
pub(super) fn hop(text: &str) -> Option<(String, Option<u16>)> {
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, rest.strip_prefix(':'))
    } else if place.matches(':').count() == 1 {
        let (host, port) = place.split_once(':')?;
        (host, Some(port))
    } else {
        (place, None)
    };
    let port = port.map(str::parse).transpose().ok()?;
    let address = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
    (!host.is_empty()).then_some((address, port))
}

fn not_followed(what: &str, at: &str) -> NotFollowed {
    NotFollowed {
        what: what.to_owned(),
        at: at.to_owned(),
    }
}

fn is_none(word: &str) -> bool {
    word.eq_ignore_ascii_case("none")
}

fn is_yes(word: &str) -> bool {
    word.eq_ignore_ascii_case("yes") || word.eq_ignore_ascii_case("true")
}

/// Whether one of the patterns fits and no negated one does. `Host` tells capital letters from small ones.
fn one_of(patterns: &[String], name: &str) -> bool {
    let mut found = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits(pattern, name) => return false,
            Some(_) => {}
            None => found |= fits(pattern, name),
        }
    }
    found
}

/// A line's keyword, in small letters, and its arguments; none if it says nothing.
fn words(line: &str, at: &str) -> Result<Option<(String, Vec<String>)>, NotFollowed> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let end = line
        .find(|c: char| c.is_whitespace() || c == '=')
        .unwrap_or(line.len());
    let keyword = line[..end].to_ascii_lowercase();
    let rest = line[end..].trim_start();
    let mut rest = rest.strip_prefix('=').unwrap_or(rest).trim_start().chars();
    let mut arguments = Vec::new();
    // None between words.
    let mut word: Option<String> = None;
    let mut quote = None;
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (_, '\\') => {
                let mut ahead = rest.clone();
                let next = ahead
                    .next()
                    .filter(|c| matches!(c, '"' | '\'' | '\\') || (quote.is_none() && *c == ' '));
                if next.is_some() {
                    rest = ahead;
                }
                word.get_or_insert_default().push(next.unwrap_or('\\'));
            }
            (None, c) if c.is_whitespace() => arguments.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(not_followed("a quote that is left open", at));
    }
    arguments.extend(word);
    Ok(Some((keyword, arguments)))
}
