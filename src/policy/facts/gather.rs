//! All records of a repository.

use crate::evidence::services::services;
use crate::policy::facts::rule::Matched;
use crate::policy::facts::{
    Material, Record, Trouble, change, file, fleet, identity, kubernetes, repository, rule,
    service, stack,
};

/// Makes the facts of everything that policies may ask about.
pub fn records(material: &Material<'_>) -> Vec<Record> {
    let (found, broken) = services(material.sources);
    let mut troubles = material.troubles.to_vec();
    troubles.extend(broken.into_iter().map(|(path, fault)| {
        Trouble {
            file: path.as_str().to_owned(),
            line: fault
                .split_whitespace()
                .nth(1)
                .and_then(|word| word.parse().ok()),
            what: fault,
        }
    }));
    let material = &Material {
        troubles: &troubles,
        ..*material
    };
    let matched = Matched::new(material);
    let mut records = vec![repository::record(material)];
    records.extend(file::records(material, &matched));
    records.extend(rule::records(material, &matched));
    records.extend(identity::records(material));
    records.extend(fleet::records(material));
    records.extend(service::records(material, &found));
    records.extend(stack::records(material));
    records.extend(kubernetes::records(material));
    records.extend(change::records(material));
    records
}
