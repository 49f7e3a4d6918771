//! Facts about Flux's Kustomizations, Helm releases and Alertmanager.

use crate::evidence::flux::kustomizations;
use crate::evidence::releases::{Alerting, Release, releases};
use crate::policy::facts::{Material, Record, facts};

facts! {
    /// A Kustomization of Flux.
    Kustomization KustomizationFacts {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The folder that it applies.
        path: String,
        /// The SOPS documents that it applies.
        documents: Vec<String>,
        /// Whether it decrypts, by itself or by a patch.
        decrypts: bool,
        /// The Secret with its identities; empty: none is named.
        secret: String,
        /// Whether `cofferdam.toml` names that Secret among those of a cluster; true where there is no `cofferdam.toml`.
        secret_is_shipped: bool,
    }
}

facts! {
    /// A Helm release.
    Release ReleaseFacts {
        /// Its name.
        name: String,
        /// The chart.
        chart: String,
        /// The value at which the chart takes an administrator's password, if it is known to take one and none is given.
        missing_password: String,
        /// The value at which a password known from the chart's documentation stands.
        default_password: String,
        /// The values that turn admission webhooks off.
        webhooks_off: Vec<String>,
    }
}

facts! {
    /// A configuration of Alertmanager.
    Alerting AlertingFacts {
        /// Its receivers.
        receivers: Vec<String>,
        /// Those of them that tell anybody.
        telling_receivers: Vec<String>,
    }
}

/// A chart that takes an administrator's password: where, the Secret that may stand in its place, what turns it off, and
/// the password that the chart makes up in its documentation.
struct PasswordChart {
    chart: &'static str,
    password: &'static str,
    secret: &'static str,
    switch: Option<&'static str>,
    default: &'static str,
}

/// Source: the charts' `values.yaml`: grafana/grafana (`adminPassword`, `admin.existingSecret`),
/// prometheus-community/kube-prometheus-stack (`grafana.adminPassword: prom-operator`).
const PASSWORD_CHARTS: [PasswordChart; 2] = [
    PasswordChart {
        chart: "grafana",
        password: "adminPassword",
        secret: "admin.existingSecret",
        switch: None,
        default: "admin",
    },
    PasswordChart {
        chart: "kube-prometheus-stack",
        password: "grafana.adminPassword",
        secret: "grafana.admin.existingSecret",
        switch: Some("grafana.enabled"),
        default: "prom-operator",
    },
];

pub(super) fn records(material: &Material<'_>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (one, documents) in kustomizations(material.sources) {
        let is_shipped = |secret: &String| {
            let clusters = material.topology.map_or(&[][..], |t| t.clusters.as_slice());
            clusters
                .iter()
                .flat_map(|c| &c.secrets)
                .any(|s| s.name == *secret && s.namespace == one.namespace)
        };
        let secret_is_shipped =
            material.topology.is_none() || one.secret.as_ref().is_some_and(is_shipped);
        let facts = KustomizationFacts {
            name: one.name,
            namespace: one.namespace.clone(),
            path: one.path,
            documents: documents.iter().map(|d| d.as_str().to_owned()).collect(),
            decrypts: one.decrypts,
            secret: one.secret.clone().unwrap_or_default(),
            secret_is_shipped,
        };
        records.push(facts.record(
            Some(one.origin.file.as_str().to_owned()),
            Some(one.origin.line),
        ));
    }
    let (found, alerting) = releases(material.sources);
    records.extend(found.iter().map(release));
    records.extend(alerting.into_iter().map(alerting_record));
    records
}

fn release(release: &Release) -> Record {
    let mut facts = ReleaseFacts {
        name: release.name.clone(),
        chart: release.chart.clone(),
        webhooks_off: release.webhooks_off(),
        ..ReleaseFacts::default()
    };
    if let Some(known) = PASSWORD_CHARTS.iter().find(|k| k.chart == release.chart) {
        let is_off = known
            .switch
            .is_some_and(|s| release.value(s).as_deref() == Some("false"));
        let given = release.value(known.password);
        if given.as_deref() == Some(known.default) {
            facts.default_password = known.password.to_owned();
        } else if !is_off
            && given.is_none()
            && release.value(known.secret).is_none()
            && !release.has_other_values
        {
            facts.missing_password = known.password.to_owned();
        }
    }
    let origin = &release.origin;
    facts.record(Some(origin.file.as_str().to_owned()), Some(origin.line))
}

fn alerting_record(alerting: Alerting) -> Record {
    let facts = AlertingFacts {
        receivers: alerting.receivers,
        telling_receivers: alerting.telling,
    };
    facts.record(
        Some(alerting.origin.file.as_str().to_owned()),
        Some(alerting.origin.line),
    )
}
