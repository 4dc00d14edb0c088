//! One type on a stream: who subscribes to what, and what the server was told of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::table::{AGAIN, DIRTY, EXPIRES, Entry, PENDING, REJECTED, TOLD, Table};
use super::ttl::Deadlines;
use super::update::TypeStatus;
use crate::types;

/// Answers not sent yet, at most: older ones give way, for a server that sends without end and
/// does not read.
const ANSWERS_MAX: usize = 256;

/// An ACK (`error` is `None`) or NACK that waits to be sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) nonce: Arc<str>,
    pub(super) error: Option<Arc<str>>,
}

/// How the server knows that all resources are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wildcard {
    /// It does not.
    Untold,
    /// The first request of the stream named nothing.
    Legacy,
    /// By the name `*`.
    Explicit,
}

/// One type.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) url: Arc<str>,
    /// Absence from a state-of-the-world response is removal.
    pub(super) full_state: bool,
    pub(super) table: Table,
    pub(super) deadlines: Deadlines,
    /// How many subscribers want all.
    pub(super) wildcard: u32,
    /// How many hold requests back.
    pub(super) paused: u32,
    /// The last accepted version.
    pub(super) version: Arc<str>,
    /// What is here is not quite what `version` names: a part of a rejected response was taken,
    /// something expired or was given up, or more is wanted. A server that trusts the version
    /// would not send it.
    pub(super) is_mixed: bool,
    /// The text of the last NACK, until an ACK.
    pub(super) error: Option<Arc<str>>,
    /// Slots whose subscription changed (delta).
    pub(super) dirty: Vec<u32>,
    /// The list of names, encoded (state of the world); `None` when it changed.
    pub(super) names: Option<Vec<u8>>,
    /// The subscription is not what the last request said.
    pub(super) changed: bool,
    // What follows is of the stream, and begins anew with it.
    pub(super) replies: VecDeque<Reply>,
    /// Of the last response answered.
    pub(super) nonce: Arc<str>,
    /// A request was sent.
    pub(super) asked: bool,
    /// What the server knows of our wish for all.
    pub(super) told_all: Wildcard,
    /// State of the world: a list of names was sent that was not empty; from then on an empty one
    /// asks for nothing.
    pub(super) named: bool,
    /// All was given up and is wanted again, and the server was told of neither.
    pub(super) all_again: bool,
    /// The node is to be sent again.
    pub(super) node_due: bool,
}

impl Kind {
    pub(super) fn new(type_url: &str, empty: &Arc<str>) -> Self {
        Self {
            url: type_url.into(),
            full_state: types::is_full_state(type_url),
            table: Table::default(),
            deadlines: Deadlines::default(),
            wildcard: 0,
            paused: 0,
            version: Arc::clone(empty),
            is_mixed: false,
            error: None,
            dirty: Vec::new(),
            names: None,
            changed: false,
            replies: VecDeque::new(),
            nonce: Arc::clone(empty),
            asked: false,
            told_all: Wildcard::Untold,
            named: false,
            all_again: false,
            node_due: false,
        }
    }

    /// One more subscriber of `name`, which is canonical.
    pub(super) fn subscribe(&mut self, name: &Arc<str>) {
        let slot = self.table.find_or_add(name);
        let Some(entry) = self.table.get_mut(slot) else { return };
        entry.wanted = entry.wanted.saturating_add(1);
        if entry.wanted == 1 {
            // The server was told before if this comes after an unsubscription that was not sent:
            // what was forgotten then must be sent again.
            let is_again = entry.is(TOLD) && entry.version.is_none();
            entry.set(AGAIN, is_again);
            entry.set(TOLD, false);
            self.table.wanted += 1;
            self.touch(slot);
        }
    }

    /// One subscriber of `name` less.
    pub(super) fn unsubscribe(&mut self, name: &str) {
        let Some(slot) = self.table.find(name) else { return };
        let covered = self.wildcard > 0;
        let Some(entry) = self.table.get_mut(slot).filter(|entry| entry.wanted > 0) else {
            return;
        };
        entry.wanted -= 1;
        if entry.wanted > 0 {
            return;
        }
        // With the wildcard the server says whether it still holds.
        if !covered {
            entry.forget();
            self.deadlines.set(slot, None);
        }
        self.table.wanted -= 1;
        self.touch(slot);
    }

    /// One more subscriber of everything.
    pub(super) fn subscribe_all(&mut self) {
        self.wildcard = self.wildcard.saturating_add(1);
        if self.wildcard == 1 {
            (self.changed, self.is_mixed) = (true, true);
            self.all_again = self.told_all != Wildcard::Untold;
        }
    }

    /// One subscriber of everything less: what nobody names is forgotten with the last.
    pub(super) fn unsubscribe_all(&mut self) {
        if self.wildcard == 0 {
            return;
        }
        self.wildcard -= 1;
        if self.wildcard == 0 {
            self.changed = true;
            self.is_mixed = true;
            for slot in self.table.slots_where(|entry| entry.wanted == 0) {
                self.forget(slot);
            }
            self.table.tidy();
        }
    }

    /// An alias turned out to be `name`: whoever wants the one wants the other.
    pub(super) fn resolve_alias(&mut self, alias: &str, name: &Arc<str>) {
        if self.wildcard > 0 {
            // The name is covered, and the server goes on by the alias, as with Envoy.
            return;
        }
        let Some(from) = self.table.find(alias) else { return };
        let Some(entry) = self.table.get_mut(from).filter(|entry| entry.wanted > 0) else {
            return;
        };
        let count = std::mem::take(&mut entry.wanted);
        self.table.wanted -= 1;
        self.touch(from);
        let to = self.table.find_or_add(name);
        if let Some(entry) = self.table.get_mut(to) {
            let is_first = entry.wanted == 0;
            entry.wanted = entry.wanted.saturating_add(count);
            self.table.wanted += usize::from(is_first);
        }
        self.touch(to);
    }

    fn touch(&mut self, slot: u32) {
        self.changed = true;
        self.names = None;
        if let Some(entry) = self.table.get_mut(slot).filter(|entry| !entry.is(DIRTY)) {
            entry.set(DIRTY, true);
            self.dirty.push(slot);
        }
    }

    /// Takes an entry out if nothing keeps it: no subscriber, no content, nothing to be said.
    pub(super) fn drop_idle(&mut self, slot: u32) {
        let keep = DIRTY | TOLD | PENDING | REJECTED;
        let idle = self.table.get(slot).is_some_and(|entry| {
            entry.wanted == 0 && entry.version.is_none() && entry.flags & keep == 0
        });
        if idle {
            self.deadlines.set(slot, None);
            self.table.remove(slot);
        }
    }

    /// What was received of this resource is over: by removal, absence or time.
    pub(super) fn forget(&mut self, slot: u32) -> Option<Arc<str>> {
        let entry = self.table.get_mut(slot)?;
        entry.forget();
        let name = Arc::clone(&entry.name);
        self.deadlines.set(slot, None);
        self.drop_idle(slot);
        Some(name)
    }

    /// The resource lives until `deadline`; `None`: without end.
    pub(super) fn expire_at(&mut self, slot: u32, deadline: Option<Duration>) {
        if let Some(entry) = self.table.get_mut(slot)
            && (deadline.is_some() || entry.is(EXPIRES))
        {
            entry.set(EXPIRES, deadline.is_some());
            self.deadlines.set(slot, deadline);
        }
    }

    /// A stream began or ended.
    pub(super) fn reset_stream(&mut self, empty: &Arc<str>) {
        self.replies.clear();
        self.nonce = Arc::clone(empty);
        (self.asked, self.node_due) = (false, false);
        (self.named, self.all_again) = (false, false);
        self.told_all = Wildcard::Untold;
        self.changed = true;
        self.names = None;
        // All that is wanted is told by the first request.
        self.dirty.clear();
        for entry in self.table.iter_mut() {
            entry.set(TOLD | DIRTY | AGAIN, false);
        }
        let nothing = |entry: &Entry| entry.wanted == 0 && entry.version.is_none();
        for slot in self.table.slots_where(nothing) {
            self.drop_idle(slot);
        }
    }

    /// Whether the next request asks for all. A wildcard given up and taken up again is left out
    /// of one request: else nothing would tell the server to send all again.
    pub(super) fn asks_all(&self) -> bool {
        self.wildcard > 0 && !self.all_again
    }

    /// The server was told that not all is wanted, be it for one request.
    pub(super) fn told_not_all(&mut self) {
        self.told_all = Wildcard::Untold;
        self.changed |= std::mem::take(&mut self.all_again) && self.wildcard > 0;
    }

    /// Whether anybody subscribes to anything.
    pub(super) fn is_wanted(&self) -> bool {
        self.wildcard > 0 || self.table.wanted > 0
    }

    /// Whether the server's `name` is one we asked for.
    pub(super) fn wants(&self, entry: Option<&Entry>) -> bool {
        self.wildcard > 0 || entry.is_some_and(|entry| entry.wanted > 0)
    }

    pub(super) fn push_reply(&mut self, reply: Reply) {
        if self.replies.len() >= ANSWERS_MAX {
            self.replies.pop_front();
        }
        self.replies.push_back(reply);
    }

    /// Whether a request of this type is to be sent.
    pub(super) fn has_request(&self) -> bool {
        if self.paused > 0 {
            return false;
        }
        // The first request of a stream that names nothing asks for everything.
        if self.asked { self.changed || self.node_due } else { self.is_wanted() }
    }

    pub(super) fn status(&self) -> TypeStatus {
        TypeStatus {
            type_url: Arc::clone(&self.url),
            version: Arc::clone(&self.version),
            nonce: Arc::clone(&self.nonce),
            wildcard: self.wildcard > 0,
            names: self.table.wanted,
            accepted: self.table.iter().filter(|(_, entry)| entry.version.is_some()).count(),
            paused: self.paused > 0,
            error: self.error.clone(),
        }
    }
}
