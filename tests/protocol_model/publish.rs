//! Forwards: the commit, what is looked at in it, and the push.

use cofferdam::journal::guards;

use crate::executor::{Executor, Next};
use crate::faults::Fault;
use crate::mind::digest_of;
use crate::notes::Note;
use crate::world::{At, By, Commit, DOCUMENTS, Tree, World};

impl Executor<'_> {
    /// The documents of the plan that are not published as they were verified.
    pub fn unpublished(&self, w: &World, staged_only: bool) -> bool {
        let (facts, journal) = (self.facts(w), self.run(w).journal);
        let (head, tree) = (&self.head(w).tree, self.tree(w));
        let other =
            (head.ledger, head.sealed, head.struck) != (tree.ledger, tree.sealed, tree.struck);
        let differs = (0..DOCUMENTS)
            .filter(|n| facts.documents[*n].is_some())
            .any(|n| {
                let staged = self.mind.staged(journal, n);
                let (blob, tree) = (
                    digest_of(head.docs[n].as_ref()),
                    digest_of(tree.docs[n].as_ref()),
                );
                (staged.is_some() || !staged_only) && !guards::is_published(blob, tree, staged)
            });
        differs || (other && !staged_only)
    }

    pub fn publish(&self, w: &World) -> Next {
        let progress = &self.journal(w).progress;
        if progress.retirement_begun() {
            if self.unpublished(w, true) {
                return self.commit(w, At::PushAgain);
            }
            return Next::To(At::PushAgain);
        }
        if self.unpublished(w, false) {
            return self.commit(w, At::Push);
        }
        let mut after = w.clone();
        if progress.commits.is_empty() {
            self.note(&mut after, Note::Committed(w.desks[self.desk].head));
        }
        self.done_if_changed(w, after, "found committed", At::Push)
    }

    /// The tree of a commit of the run's files; a hook may leave one out.
    pub fn tree_to_commit(&self, w: &World, hooked: Option<usize>) -> Tree {
        let facts = self.facts(w);
        let mut tree = *self.tree(w);
        for n in 0..DOCUMENTS {
            if facts.documents[n].is_none() || hooked == Some(n) {
                tree.docs[n] = self.head(w).tree.docs[n];
            }
        }
        tree
    }

    pub fn commit(&self, w: &World, to: At) -> Next {
        let mut hooks = vec![None];
        if w.left.hooks > 0 {
            let head = self.head(w).tree.docs;
            let tree = self.tree_to_commit(w, None).docs;
            hooks.extend((0..DOCUMENTS).filter(|n| head[*n] != tree[*n]).map(Some));
        }
        let mut outcomes = Vec::new();
        for hook in hooks {
            let mut after = w.clone();
            self.note(&mut after, Note::Publishing);
            let tree = self.tree_to_commit(w, hook);
            let head = w.desks[self.desk].head;
            let commit = after.add(Commit {
                parent: Some(head),
                tree,
                by: By::Run,
            });
            after.desks[self.desk].head = commit;
            after.left.hooks -= u8::from(hook.is_some());
            outcomes.push(("committed and killed", self.stop(after.clone())));
            self.note(&mut after, Note::Committed(commit));
            self.note(&mut after, Note::Published);
            let is_well = !self.unpublished(&after, false);
            if is_well || self.has(Fault::PublishUnverified) {
                self.go(&mut after, to);
                outcomes.push(("commit", after));
            } else {
                outcomes.push(("the commit is not what was verified", self.stop(after)));
            }
        }
        Next::Did(outcomes)
    }

    /// Whether the remote's branch holds the run's files as HEAD does.
    pub fn is_at_tip(&self, w: &World) -> bool {
        let facts = self.facts(w);
        let (head, tip) = (&self.head(w).tree, &w.commit(w.published()).tree);
        let own = |tree: &Tree| {
            let docs =
                (0..DOCUMENTS).map(|n| tree.docs[n].filter(|_| facts.documents[n].is_some()));
            (
                docs.collect::<Vec<_>>(),
                tree.ledger,
                tree.sealed,
                tree.struck,
            )
        };
        own(head) == own(tip)
    }

    pub fn push(&self, w: &World, to: At) -> Next {
        let Some(tip) = w.tip else {
            return Next::To(to);
        };
        let mut w = w.clone();
        w.desks[self.desk].seen = tip;
        if self.is_at_tip(&w) {
            self.go(&mut w, to);
            return Next::Did(vec![("published already", w)]);
        }
        let Some(renewed) = self.renew(&w) else {
            return self.stopped("another holds the ref", &w);
        };
        let Some(mut after) = self.pushed(&renewed) else {
            return self.stopped("push refused", &renewed);
        };
        let mut lost = after.clone();
        lost.desks[self.desk].seen = tip;
        self.go(&mut after, to);
        Next::Did(vec![
            ("push", after),
            ("push, the answer lost", self.stop(lost)),
            ("killed before the push", self.stop(renewed)),
        ])
    }

    /// The world with HEAD at the remote; none: its branch has gone another way.
    pub fn pushed(&self, w: &World) -> Option<World> {
        let (tip, head) = (w.tip?, w.desks[self.desk].head);
        if !w.stands_on(head, tip) {
            return None;
        }
        let mut after = w.clone();
        after.tip = Some(head);
        after.desks[self.desk].seen = head;
        Some(after)
    }
}
