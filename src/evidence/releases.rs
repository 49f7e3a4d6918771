//! Helm releases of Flux and Argo CD, and Alertmanager configurations, as policies ask about them.
//!
//! Source: fluxcd/helm-controller, docs/spec/v2/helmreleases.md (`spec.chart.spec.chart`, `spec.values`,
//! `spec.valuesFrom`); Argo CD, `Application` (`spec.source.chart`, `spec.source.helm.valuesObject`, `.values`);
//! Prometheus Alertmanager, configuration (`route`, `receivers[].*_configs`).

use serde_yaml::Value;

use crate::evidence::{Origin, Sources, yaml};

/// One release of a chart.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// The chart.
    pub chart: String,
    /// Where it is declared.
    pub origin: Origin,
    /// Whether values also come from ConfigMaps or Secrets.
    pub has_other_values: bool,
    values: Value,
}

impl Release {
    /// The text, number or truth at a path of the values: `grafana.adminPassword`.
    pub fn value(&self, path: &str) -> Option<String> {
        let keys: Vec<&str> = path.split('.').collect();
        match yaml::at(&self.values, &keys)? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The places at which the values turn admission webhooks off.
    pub fn webhooks_off(&self) -> Vec<String> {
        let mut found = Vec::new();
        find_off(&self.values, String::new(), &mut found);
        found
    }
}

/// One Alertmanager configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerting {
    /// Where it stands.
    pub origin: Origin,
    /// Its receivers.
    pub receivers: Vec<String>,
    /// Those of them that tell anybody.
    pub telling: Vec<String>,
}

/// All releases and Alertmanager configurations of the repository.
pub fn releases(sources: &Sources) -> (Vec<Release>, Vec<Alerting>) {
    let mut found = Vec::new();
    let mut alerting = Vec::new();
    for (file, text) in &sources.texts {
        let name = file.file_name();
        if sources.documents.contains_key(file)
            || !(name.ends_with(".yaml") || name.ends_with(".yml"))
        {
            continue;
        }
        let may_be = ["HelmRelease", "Application", "receivers"];
        if !may_be.iter().any(|word| text.contains(word)) {
            continue;
        }
        for (line, value) in yaml::documents(text).0 {
            let kind = yaml::text_at(&value, &["kind"]).unwrap_or_default();
            let at = |needle: &str| Origin::new(file, yaml::line_of(text, line, needle));
            if let Some(release) = release(&value, kind, at("kind:")) {
                for path in ["alertmanager.config", "config"] {
                    let keys: Vec<&str> = path.split('.').collect();
                    let config = yaml::at(&release.values, &keys);
                    alerting.extend(config.and_then(|c| alerting_of(c, at("receivers"))));
                }
                found.push(release);
            } else if kind.is_empty() {
                alerting.extend(alerting_of(&value, at("receivers")));
            }
        }
    }
    (found, alerting)
}

fn release(value: &Value, kind: &str, origin: Origin) -> Option<Release> {
    let name = yaml::text_at(value, &["metadata", "name"]).unwrap_or_default();
    let (chart, values, has_other_values) = match kind {
        "HelmRelease" => {
            let chart = yaml::text_at(value, &["spec", "chart", "spec", "chart"])
                .or_else(|| yaml::text_at(value, &["spec", "chartRef", "name"]))?;
            let values = yaml::at(value, &["spec", "values"]).cloned();
            let others = yaml::at(value, &["spec", "valuesFrom"]);
            (chart, values, others.is_some())
        }
        "Application" => {
            let chart = yaml::text_at(value, &["spec", "source", "chart"])?;
            let helm = yaml::at(value, &["spec", "source", "helm"]);
            let object = helm.and_then(|h| h.get("valuesObject")).cloned();
            let text = helm.and_then(|h| yaml::text_at(h, &["values"]));
            let values = object.or_else(|| serde_yaml::from_str(text?).ok());
            let others = helm.is_some_and(|h| {
                ["valueFiles", "parameters", "fileParameters"]
                    .iter()
                    .any(|field| h.get(*field).is_some())
            });
            (chart, values, others)
        }
        _ => return None,
    };
    Some(Release {
        name: name.to_owned(),
        chart: chart.to_owned(),
        origin,
        has_other_values,
        values: values.unwrap_or(Value::Null),
    })
}

fn alerting_of(value: &Value, origin: Origin) -> Option<Alerting> {
    value.get("route")?;
    let receivers = value.get("receivers")?.as_sequence()?;
    let tells = |receiver: &&Value| {
        let entries = receiver.as_mapping().into_iter().flatten();
        entries.into_iter().any(|(key, configs)| {
            let is_list = key.as_str().is_some_and(|key| key.ends_with("_configs"));
            is_list && configs.as_sequence().is_some_and(|list| !list.is_empty())
        })
    };
    let name = |receiver: &Value| yaml::text_at(receiver, &["name"]).map(str::to_owned);
    Some(Alerting {
        origin,
        receivers: receivers.iter().filter_map(name).collect(),
        telling: receivers.iter().filter(tells).filter_map(name).collect(),
    })
}

fn find_off(value: &Value, path: String, found: &mut Vec<String>) {
    let Value::Mapping(entries) = value else {
        return;
    };
    for (key, below) in entries {
        let key = key.as_str().unwrap_or_default();
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        let is_off = |value: &Value| value.as_bool() == Some(false);
        if matches!(key, "admissionWebhooks" | "admissionWebhook")
            && (is_off(below) || below.get("enabled").is_some_and(is_off))
        {
            found.push(path.clone());
        }
        find_off(below, path, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::sources;

    #[test]
    fn values_of_both_engines() {
        let flux = "kind: HelmRelease\nmetadata: {name: mon}\nspec:\n  chart: {spec: {chart: kube-prometheus-stack}}\n  values:\n    grafana: {adminPassword: x}\n    prometheusOperator: {admissionWebhooks: {enabled: false}}\n    alertmanager:\n      config:\n        route: {receiver: 'null'}\n        receivers: [{name: 'null'}]\n";
        let argo = "kind: Application\nmetadata: {name: graf}\nspec:\n  source:\n    chart: grafana\n    helm:\n      valueFiles: [a]\n      values: |\n        adminPassword: y\n";
        let sources = sources(&[
            ("k/a.yaml", flux),
            ("k/b.yaml", argo),
            ("k/c.yaml", "kind: Application\nspec: {source: {path: x}}\n"),
            (
                "a/alertmanager.yml",
                "route: {receiver: a}\nreceivers:\n  - name: a\n    slack_configs: [{channel: x}]\n  - name: b\n    slack_configs: []\n",
            ),
        ]);
        let (releases, alerting) = releases(&sources);
        assert_eq!(releases.len(), 2);
        assert_eq!(releases[0].value("grafana.adminPassword").unwrap(), "x");
        assert_eq!(
            releases[0].webhooks_off(),
            ["prometheusOperator.admissionWebhooks"]
        );
        assert_eq!(releases[1].value("adminPassword").unwrap(), "y");
        assert!(releases[1].has_other_values && !releases[0].has_other_values);
        assert_eq!(alerting.len(), 2);
        assert_eq!(
            (
                alerting[0].origin.file.as_str(),
                alerting[0].telling.as_slice()
            ),
            ("a/alertmanager.yml", &["a".to_owned()][..])
        );
        assert!(alerting[1].telling.is_empty());
    }
}
