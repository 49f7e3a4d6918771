//! A proposal as the text of `cofferdam.toml`, a comment beside each line saying where it came from.

use toml_edit::{Key, Value};

use crate::evidence::proposal::{
    ClusterProposal, FileSet, HostProposal, Proposal, SharedProposal, Target, ZoneProposal, summary,
};
use crate::keys::Recipient;

/// Comments are aligned up to this column; longer lines have theirs above.
const CODE_WIDTH: usize = 48;
/// Lists longer than this are written one item a line.
const LIST_WIDTH: usize = 100;

/// Writes the topology. What nobody could tell is marked `# decide:`.
pub fn to_toml(proposal: &Proposal) -> String {
    let mut page = Page::default();
    page.remark("Who may read what. Written by `cofferdam init` from what this repository says; yours to edit.");
    page.remark("Lines marked `decide:` are guesses. `cofferdam plan split` shows what follows from this file.");
    page.line("version = 1", "");
    recovery(&mut page, proposal);
    for zone in &proposal.zones {
        write_zone(&mut page, zone, proposal);
    }
    for shared in &proposal.shared {
        write_shared(&mut page, shared);
    }
    for host in &proposal.hosts {
        write_host(&mut page, host);
    }
    for cluster in &proposal.clusters {
        write_cluster(&mut page, cluster);
    }
    publish(&mut page, proposal);
    if !proposal.notes.is_empty() {
        page.gap();
        page.remark("Also seen:");
        for note in &proposal.notes {
            page.remark(&format!("- {}: {}", note.file, note.text));
        }
    }
    page.render()
}

fn recovery(page: &mut Page, proposal: &Proposal) {
    page.gap();
    page.line(
        "[recovery]",
        "wrapped into every file; its identity is kept offline",
    );
    if proposal.recovery.is_empty() {
        page.line(
            "recipients = []",
            "decide: `cofferdam recovery create --out FILE` prints one",
        );
    } else {
        page.line(
            &format!("recipients = {}", recipients(&proposal.recovery)),
            "",
        );
    }
    page.line("drill_every = \"180 days\"", "a usual choice");
    for (name, keys) in &proposal.operators {
        page.gap();
        page.line(
            &format!("[operators.{}]", key(name)),
            "--operator; opens every file",
        );
        page.line(&format!("recipients = {}", recipients(keys)), "");
    }
    if proposal.operators.is_empty() {
        page.gap();
        page.line("[operators.laptop]", "decide: the name");
        page.line(
            "recipients = []",
            "decide: of an identity that only you hold: age-keygen",
        );
    }
}

fn write_zone(page: &mut Page, zone: &ZoneProposal, proposal: &Proposal) {
    page.gap();
    page.line(&format!("[zones.{}]", key(&zone.name)), &zone.reason);
    if !zone.partial_readers.is_empty() {
        let (_, _, opened) = zone.partial_readers.first().cloned().unwrap_or_default();
        let hosts: Vec<String> = zone
            .partial_readers
            .iter()
            .map(|(host, read, _)| format!("{host} {read}"))
            .collect();
        page.remark(&format!(
            "Of {opened} documents that this zone opens its hosts read fewer: {}.",
            hosts.join(", ")
        ));
        page.remark("identity = \"host\" gives each host an identity of its own, which opens only what that host reads:");
        page.remark("files that name `hosts = [...]` are read by those hosts alone.");
    }
    if let Some(adopt) = &zone.adopt {
        let called = match &adopt.name {
            Some((origin, name)) => format!("{origin} calls it {name}; "),
            None => String::new(),
        };
        let documents = match adopt.documents {
            1 => "the 1 document".to_owned(),
            n => format!("the {n} documents"),
        };
        page.line(
            &format!("adopt = {}", string(adopt.recipient.as_str())),
            &format!("{called}it opens {documents} of this zone and no others: it stays"),
        );
    }
    if zone.has_readers {
        page.line(
            "max_age = \"90 days\"",
            "a usual choice: rotation is due after this",
        );
        if !proposal.is_local {
            page.line(
                "grace = \"24 hours\"",
                "how long the old identity stays on its readers at least",
            );
        }
    }
    files(page, &zone.files);
}

fn write_shared(page: &mut Page, shared: &SharedProposal) {
    page.gap();
    page.line(
        &format!("[shared.{}]", key(&shared.name)),
        "read by several zones",
    );
    page.line(&format!("zones = {}", list(&shared.zones)), "");
    files(page, &shared.files);
}

fn files(page: &mut Page, sets: &[FileSet]) {
    for set in sets {
        for (document, doubt) in &set.doubts {
            page.remark(&format!("decide: {document}: {doubt}"));
        }
    }
    if sets.is_empty() {
        page.line("files = []", "all that it reads is shared");
        return;
    }
    page.line("files = [", "");
    for set in sets {
        let count = match set.documents.len() {
            1 => "1 document".to_owned(),
            n => format!("{n} documents"),
        };
        let mut comment = format!("{count}; {}", summary(&set.origins));
        let mut tail = String::new();
        if let Some((selector, value)) = &set.selection {
            tail.push_str(&format!(", {selector} = {}", string(value)));
        }
        if set.mac_only_encrypted {
            tail.push_str(", mac_only_encrypted = true");
        }
        if let Some(origin) = &set.selection_origin {
            comment.push_str(&format!("; selection: {origin}"));
        }
        let one_line = format!("  {{ paths = {}{tail} }},", list(&set.paths));
        if one_line.len() <= LIST_WIDTH || set.paths.len() == 1 {
            page.line(&one_line, &comment);
            continue;
        }
        page.line(&format!("  # {comment}"), "");
        page.line("  { paths = [", "");
        for path in &set.paths {
            page.line(&format!("    {},", string(path)), "");
        }
        page.line(&format!("  ]{tail} }},"), "");
    }
    page.line("]", "");
}

fn write_host(page: &mut Page, host: &HostProposal) {
    page.gap();
    let reads = match host.documents {
        0 => "reads no secret today".to_owned(),
        1 => "reads 1 document".to_owned(),
        n => format!("reads {n} documents"),
    };
    page.line(
        &format!("[hosts.{}]", key(&host.name)),
        &format!("{}; {reads}", host.origin),
    );
    let decide = if host.zone_guessed { "decide: " } else { "" };
    page.line(
        &format!("zone = {}", string(&host.zone)),
        &format!("{decide}{}", host.zone_reason),
    );
    target(
        page,
        "ssh",
        &host.target,
        "a guess; user@host, or an alias of ~/.ssh/config",
    );
    let origin = match &host.identity_file_origin {
        Some(origin) => origin.to_string(),
        None => "the usual place".to_owned(),
    };
    page.line(
        &format!("identity_file = {}", string(&host.identity_file)),
        &origin,
    );
    if !host.clones.is_empty() {
        let comment = "what it has deployed; retirement waits until these hold the new documents";
        page.line(&format!("clones = {}", list(&host.clones)), comment);
    }
}

fn write_cluster(page: &mut Page, cluster: &ClusterProposal) {
    page.gap();
    let comment = if cluster.guessed {
        "decide: the name; "
    } else {
        ""
    };
    page.line(
        &format!("[clusters.{}]", key(&cluster.name)),
        &format!("{comment}{}", cluster.origin),
    );
    page.line(&format!("zone = {}", string(&cluster.zone)), "");
    target(
        page,
        "context",
        &cluster.target,
        "a guess; a context of your kubeconfig",
    );
    if cluster.secrets.is_empty() {
        page.line(
            "secrets = []",
            "decide: the Secret that holds its identity; no Kustomization names one",
        );
    } else {
        write_secrets(page, cluster);
    }
    write_kustomizations(page, cluster);
}

fn write_secrets(page: &mut Page, cluster: &ClusterProposal) {
    page.line("secrets = [", "");
    for (secret, origin) in &cluster.secrets {
        let line = format!(
            "  {{ namespace = {}, name = {}, entry = {} }},",
            string(&secret.namespace),
            string(&secret.name),
            string(&secret.entry)
        );
        page.line(&line, &origin.to_string());
    }
    page.line("]", "");
}

/// What Flux decrypts there; a directory has nothing that applies it.
fn write_kustomizations(page: &mut Page, cluster: &ClusterProposal) {
    if cluster.kustomizations.is_empty() || matches!(cluster.target, Target::Local(_)) {
        return;
    }
    page.line(
        "kustomizations = [",
        "they decrypt; retirement waits until they have applied the new documents",
    );
    for (name, origin) in &cluster.kustomizations {
        page.line(&format!("  {},", string(name)), &origin.to_string());
    }
    page.line("]", "");
}

fn target(page: &mut Page, field: &str, target: &Target, guess: &str) {
    match target {
        Target::Local(path) => page.line(&format!("local = {}", string(path)), "--local-root"),
        Target::Remote { name, guessed } => {
            let comment = if *guessed {
                format!("decide: {guess}")
            } else {
                "your answer".to_owned()
            };
            page.line(&format!("{field} = {}", string(name)), &comment);
        }
    }
}

fn publish(page: &mut Page, proposal: &Proposal) {
    page.gap();
    page.line(
        "[publish]",
        "what happens between the rewrite and the retirement",
    );
    page.line("commit = true", "the default");
    if let Some(remote) = proposal.remotes.first() {
        let line = format!("remote = {}", string(remote));
        page.remark(&format!(
            "{line}  # would coordinate operators, and look there again before retirement"
        ));
    }
    if !proposal.is_local && proposal.has_komodo {
        page.remark("run = [\"km execute sync NAME\"]  # has Komodo take the new revision");
    }
    if !proposal.is_local {
        page.remark("ready = []  # commands that succeed once every reader runs the new revision");
    }
}

fn recipients(keys: &[Recipient]) -> String {
    list(
        &keys
            .iter()
            .map(|r| r.as_str().to_owned())
            .collect::<Vec<_>>(),
    )
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|i| string(i)).collect();
    format!("[{}]", items.join(", "))
}

fn string(text: &str) -> String {
    Value::from(text).to_string().trim().to_owned()
}

fn key(text: &str) -> String {
    Key::new(text).to_string().trim().to_owned()
}

/// Lines with their comments.
#[derive(Default)]
struct Page {
    blocks: Vec<Vec<(String, String)>>,
}

impl Page {
    fn gap(&mut self) {
        self.blocks.push(Vec::new());
    }

    fn line(&mut self, code: &str, comment: &str) {
        if self.blocks.is_empty() {
            self.gap();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push((code.to_owned(), printable(comment)));
        }
    }

    /// A comment on a line of its own.
    fn remark(&mut self, text: &str) {
        self.line("", text);
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            let widths = block
                .iter()
                .filter(|(_, c)| !c.is_empty())
                .map(|(code, _)| code.chars().count());
            let width = widths.filter(|w| *w <= CODE_WIDTH).max().unwrap_or(0);
            for (code, comment) in block {
                let indent = code.len() - code.trim_start().len();
                match (code.as_str(), comment.as_str()) {
                    ("", comment) => text.push_str(&format!("# {comment}")),
                    (code, "") => text.push_str(code),
                    (code, comment) if code.chars().count() > CODE_WIDTH => {
                        text.push_str(&format!("{:indent$}# {comment}\n{code}", ""));
                    }
                    (code, comment) => text.push_str(&format!("{code:width$}  # {comment}")),
                }
                text.push('\n');
            }
        }
        text
    }
}

/// A comment must stay on its line, whatever a file's name holds.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
