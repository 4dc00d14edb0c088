//! What may be left once a server has taken everything away.

use crate::control::xds::Xds;

impl Xds {
    /// Whether there is nothing but the cluster of the management server.
    ///
    /// # Errors
    /// What is left, for a person.
    pub(crate) fn check_rest(&self) -> Result<(), String> {
        let mut left = Vec::new();
        let mut add = |what: &str, count: usize| {
            if count > 0 {
                left.push(format!("{count} {what}"));
            }
        };
        add("clusters", self.clusters.by_name.len().saturating_sub(1));
        add("clusters that are named", self.clusters.count_named());
        add("clusters that warm", self.clusters.warming);
        add("clusters that were not checked", self.clusters.unchecked.len());
        add("assignments", self.endpoints.count());
        add("listeners", self.listeners.by_name.len());
        add("places of listeners", self.listeners.bound.len() + self.listeners.order.len());
        add("listeners that warm", self.listeners.warming);
        add("listeners that drain", self.listeners.draining.len());
        add("tables", self.tables.by_slot.len());
        add("slots of tables", self.tables.count_slots());
        add("resources that were refused", self.refusals.count());
        add("responses", usize::from(self.has_work()));
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    }

    /// Ends, with its connections.
    pub(crate) fn end(self) {
        let Self { feeds, upstreams, .. } = self;
        feeds.end();
        upstreams.drain();
    }
}
