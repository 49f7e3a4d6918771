//! No reader loses access at any prefix of a plan.
//!
//! A run has three stretches in which what readers hold and what documents are wrapped to may be mixed in any way:
//! identities are delivered beside the old ones while documents are as before; documents are rewritten one by one while
//! readers hold old and new; old identities leave while documents are as afterwards. So a document is safe for a reader
//! that should read it if it opens *before* with what the reader holds from the start, and *after* with what is left.

use crate::inventory::TargetFacts;
use crate::keys::Recipient;
use crate::plan::{Party, Plan, PlanProblem};

/// Names every document and reader that some prefix of `plan` would part; none for a safe plan.
pub fn check(plan: &Plan, targets: &[TargetFacts]) -> Vec<PlanProblem> {
    let mut problems = Vec::new();
    for (reader, target) in plan.readers.iter().zip(targets) {
        for document in &plan.documents {
            let reads_after = document
                .after
                .iter()
                .any(|p| matches!(p, Party::Identity(id) if reader.needs.contains(id)));
            let read_before = opens(&target.held, &document.before);
            let mut lock_out = |when: &str| {
                problems.push(PlanProblem::LockOut {
                    path: document.path.clone(),
                    reader: reader.name.clone(),
                    when: when.to_owned(),
                });
            };
            if reads_after && !read_before && !document.before.is_empty() {
                // It reads nothing now; it gains, which is the planner's question, not a lock-out.
                continue;
            }
            if reader.without {
                // What it holds now must be kept for it.
                let roster = plan.known_recipients();
                let kept = document.after.iter().any(|p| {
                    p.recipient(&roster)
                        .is_some_and(|r| target.held.contains(r) && !reader.loses.contains(r))
                });
                if reads_after && !kept {
                    lock_out("the run goes on without it and keeps nothing that it holds");
                }
                continue;
            }
            if reads_after {
                // What it needs must be delivered, or be there and stay.
                for id in &reader.needs {
                    let delivered = reader.receives.contains(id);
                    let stays = plan
                        .identity(id)
                        .and_then(|i| i.recipient.as_ref())
                        .is_some_and(|r| target.held.contains(r) && !reader.loses.contains(r));
                    if !delivered && !stays {
                        lock_out("the identity it needs is neither delivered nor kept");
                    }
                }
            }
        }
    }
    // Operators and recovery read everything that is rewritten.
    for document in &plan.documents {
        for party in &plan.always {
            if !document.after.contains(party) {
                problems.push(PlanProblem::LockOut {
                    path: document.path.clone(),
                    reader: party.label(),
                    when: "it is no recipient afterwards".to_owned(),
                });
            }
        }
    }
    problems
}

fn opens(held: &[Recipient], recipients: &[Recipient]) -> bool {
    recipients.iter().any(|r| held.contains(r))
}
