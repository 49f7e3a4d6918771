//! What a topology makes Cofferdam trust, fact by fact, so that what came since can be told.
//!
//! A pull request that changes a command, an address or a recipient would otherwise be carried out by the next `--yes`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::topology::{ClusterTarget, HostTarget, Suffices, Topology, Transport};

/// Every command, address and recipient of a topology.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The version of this form; 1.
    version: u32,
    facts: BTreeSet<TrustedFact>,
    /// What it insists on: one that is there no longer makes the topology trust more. Each says what that is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    demands: BTreeSet<TrustedFact>,
}

/// One thing that is trusted: a host's address, a command, a recipient.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedFact {
    /// By which it is confirmed: a host, cluster, zone or operator, `recovery`, `dismissed` or `publish`.
    pub name: String,
    /// For people.
    pub text: String,
}

impl Baseline {
    /// Everything that `topology` makes Cofferdam trust.
    pub fn of(topology: &Topology) -> Self {
        let mut facts = BTreeSet::new();
        let mut add = |name: &str, text: String| {
            facts.insert(TrustedFact {
                name: name.to_owned(),
                text,
            });
        };
        for recipient in &topology.recovery.recipients {
            add("recovery", format!("every document opens for {recipient}"));
        }
        for operator in &topology.operators {
            for recipient in &operator.recipients {
                add(
                    &operator.name,
                    format!("every document opens for {recipient}"),
                );
            }
        }
        for host in &topology.hosts {
            let at = match &host.target {
                HostTarget::Ssh(address) => format!("ssh {address}"),
                HostTarget::Local(folder) => format!("the directory {folder}"),
            };
            add(
                &host.name,
                format!(
                    "identities of zone {} go to {at}, {}",
                    host.zone, host.identity_file
                ),
            );
            if host.transport == Some(Transport::Libssh2) {
                add(&host.name, "is reached by libssh2".to_owned());
            }
            if let Some(program) = &host.cofferdam {
                add(&host.name, format!("answers there by {program}"));
            }
            for command in &host.after_ship {
                add(&host.name, format!("runs there: {command}"));
            }
            if let Some(reader) = &host.reader {
                add(&host.name, format!("is read by {reader}"));
            }
        }
        for cluster in &topology.clusters {
            let at = match &cluster.target {
                ClusterTarget::Context(context) => format!("context {context}"),
                ClusterTarget::Local(folder) => format!("the directory {folder}"),
            };
            for secret in &cluster.secrets {
                add(
                    &cluster.name,
                    format!(
                        "identities of zone {} go to {at}, Secret {}/{}",
                        cluster.zone, secret.namespace, secret.name
                    ),
                );
            }
        }
        for (_, name, recipient) in topology.adopted() {
            add(name, format!("adopts the identity of {recipient}"));
        }
        for dismissed in &topology.dismissed {
            let (name, because) = (&dismissed.name, &dismissed.because);
            add(
                "dismissed",
                format!("{name} is none of the readers: {because}"),
            );
        }
        let publish = &topology.publish;
        if let Some(remote) = &publish.remote {
            let pushes = if publish.push {
                "pushes to"
            } else {
                "looks at"
            };
            add("publish", format!("{pushes} the remote {remote}"));
        }
        for command in publish.run.iter().chain(&publish.ready) {
            add("publish", format!("runs here: {command}"));
        }
        let mut demands = BTreeSet::new();
        if topology.gate.receipt == Suffices::Unwrapped {
            for name in &topology.gate.except {
                add(
                    "gate",
                    format!("lets {name} through with a receipt that was only read back"),
                );
            }
            demands.insert(TrustedFact {
                name: "gate".to_owned(),
                text: "lets readers through with a receipt that was only read back".to_owned(),
            });
        }
        Self {
            version: 1,
            facts,
            demands,
        }
    }

    /// What `self` trusts and `earlier` did not, by name; also what it does not insist on any more.
    pub fn since<'a>(&'a self, earlier: &'a Self) -> Vec<&'a TrustedFact> {
        let known = &earlier.facts;
        self.facts
            .iter()
            .filter(|fact| !known.contains(fact))
            .chain(earlier.demands.difference(&self.demands))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"version = 1
[recovery]
recipients = ["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"]
[operators.laptop]
recipients = ["age12c9kanc9dldzlz2wxyeu9ap8m5syar5a64dz7nkhcu3u36txsscsmfymuj"]
[zones.lan]
files = [{ paths = ["lan/*.env"] }]
[hosts.kasm]
zone = "lan"
ssh = "root@kasm"
[publish]
run = ["true"]
"#;

    fn of(text: &str) -> Baseline {
        Baseline::of(&crate::topology::parse(text, "cofferdam.toml").unwrap())
    }

    #[test]
    fn what_is_new_is_told_by_name_and_what_left_is_not() {
        let first = of(TEXT);
        assert!(first.since(&first).is_empty());
        let cases = [
            (("root@kasm", "root@evil"), "kasm"),
            (
                ("run = [\"true\"]", "run = [\"true\", \"curl evil\"]"),
                "publish",
            ),
            (
                (
                    "zone = \"lan\"\n",
                    "zone = \"lan\"\nafter_ship = [\"id\"]\n",
                ),
                "kasm",
            ),
            (
                (
                    "[publish]",
                    "[hosts.new]\nzone = \"lan\"\nssh = \"new\"\n[publish]",
                ),
                "new",
            ),
        ];
        for ((from, to), name) in cases {
            let changed = of(&TEXT.replace(from, to));
            let names: Vec<&str> = changed
                .since(&first)
                .iter()
                .map(|f| f.name.as_str())
                .collect();
            assert_eq!(names, [name], "{to}");
        }
        assert!(
            of(&TEXT.replace("run = [\"true\"]", ""))
                .since(&first)
                .is_empty()
        );
        let text = serde_json::to_string(&first).unwrap();
        assert!(!text.contains("demands"));
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap(), first);
    }
    #[test]
    fn a_weaker_gate_is_told_and_a_stronger_one_is_not() {
        let weak = of(TEXT);
        let strong = of(&format!("{TEXT}[gate]\nreceipt = \"unwrapped\"\n"));
        let holed = of(&format!(
            "{TEXT}[gate]\nreceipt = \"unwrapped\"\nexcept = \"kasm\"\n"
        ));
        let told = |now: &Baseline, earlier: &Baseline| -> Vec<String> {
            now.since(earlier).iter().map(|f| f.text.clone()).collect()
        };
        assert!(strong.since(&weak).is_empty());
        let weaker = "lets readers through with a receipt that was only read back";
        assert_eq!(told(&weak, &strong), [weaker]);
        let hole = "lets kasm through with a receipt that was only read back";
        assert_eq!(told(&holed, &strong), [hole]);
        assert!(told(&strong, &holed).is_empty());
        let text = serde_json::to_string(&strong).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap(), strong);
    }
}
