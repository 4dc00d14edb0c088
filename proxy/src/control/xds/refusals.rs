//! Resources whose last change was refused (`error_state` in `/config_dump`), of every kind. They
//! are noted where responses are worked on, so that no kind has to think of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_xds::client::Resource;

use super::feeds::FeedId;
use super::kind::Kind;
use super::raw::{Dumped, Raw, Refused, ResourceState};

/// All of them, by kind, feed and name.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    all: BTreeMap<(Kind, FeedId, Arc<str>), Arc<Refused>>,
}

impl Refusals {
    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// What came of a resource; `Err` says why it was refused.
    pub(super) fn note(
        &mut self,
        kind: Kind,
        feed: FeedId,
        resource: &Resource,
        result: Result<(), &str>,
    ) {
        match result {
            Ok(()) => self.forget(kind, feed, &resource.name),
            Err(text) => {
                let refused = Refused::new(Raw::of(resource), text);
                self.all.insert((kind, feed, resource.name.clone()), refused);
            }
        }
    }

    /// A resource is gone, nobody wants it any more, or what was accepted of it has come back.
    pub(super) fn forget(&mut self, kind: Kind, feed: FeedId, name: &Arc<str>) {
        if !self.all.is_empty() {
            self.all.remove(&(kind, feed, name.clone()));
        }
    }

    /// Nobody wants any resource of a kind from this feed any more.
    pub(super) fn forget_all(&mut self, kind: Kind, feed: FeedId) {
        self.all.retain(|(of, from, _), _| (*of, *from) != (kind, feed));
    }

    /// Puts those of a kind into a dump of it, which is sorted by name and stays so. The first
    /// entry of a name carries the error; a resource of which nothing was taken yet gets one.
    pub(super) fn dump(&self, kind: Kind, resources: &mut Vec<Dumped>) {
        let first = (kind, FeedId(0), Arc::from(""));
        let of_kind = self.all.range(first..).take_while(|((of, ..), _)| *of == kind);
        let mut new = Vec::new();
        for ((.., name), refused) in of_kind {
            let from = resources.partition_point(|dumped| dumped.name < *name);
            let mut entries = resources.iter_mut().skip(from);
            let refused = Some(refused.clone());
            match entries.next().filter(|dumped| dumped.name == *name) {
                Some(dumped) => dumped.refused = refused,
                None => {
                    let (name, state) = (name.clone(), ResourceState::Warming);
                    new.push(Dumped { name, state, raw: None, refused });
                }
            }
        }
        if !new.is_empty() {
            resources.append(&mut new);
            resources.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }
}
