//! What is to happen at a time unless something else happens first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Instant, now};

use super::feeds::FeedId;
use super::kind::Kind;
use crate::plan::{RouteSlot, ScopeSlot};

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// A cluster has waited long enough for its endpoints and secrets.
    Cluster(Arc<str>),
    /// A cluster that is gone has been kept long enough for those that still name it.
    Leaving(Arc<str>),
    /// A listener has waited long enough for what is fetched.
    Listener(Arc<str>),
    /// A listener has waited long enough for the clusters it names.
    HeldListener(Arc<str>),
    /// A route table has waited long enough for the clusters it names.
    Routes(RouteSlot),
    /// The first route table of this slot has not come.
    FirstRoutes(RouteSlot),
    /// The first set of scopes of this slot has not come.
    FirstScopes(ScopeSlot),
    /// Options of a filter have not come.
    Extension(FeedId, Arc<str>),
    /// Endpoints of which nothing was heard (`endpoint_stale_after`).
    Stale(FeedId, Arc<str>),
    /// A layer of the runtime has not come.
    Layer(Arc<str>),
    /// The first response of a kind of which all resources are asked for has not come.
    First(FeedId, Kind),
    /// Requests have waited long enough for something of this name; the number is the demand's.
    Demand(FeedId, Kind, Arc<str>, u64),
    /// Look for names nobody holds any more.
    Sweep,
    /// Show readers which statistics there are.
    Names,
}

/// What is due when. An entry is not taken back when it has become pointless: whoever gets it
/// looks whether it still applies.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: BTreeMap<(Instant, u64), Due>,
    count: u64,
}

impl Deadlines {
    /// After so much time.
    pub(super) fn after(&mut self, wait: Duration, due: Due) {
        self.count += 1;
        self.queue.insert((now() + wait, self.count), due);
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// One whose time has come.
    pub(super) fn take(&mut self) -> Option<Due> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= now())?;
        Some(first.remove())
    }
}
