//! ORIGINAL_DST clusters on a shard: a host is made when the first connection wants to go there.
//!
//! LIFECYCLE of a host: made here and used at once → told to the control thread → part of the
//! cluster's set, which all shards and `/clusters` see → unused for `cleanup_interval`: gone from
//! the set, and from here. Where two shards make a host of the same address, the set has one of
//! them, and the other shard takes it over.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;

use super::cluster::ShardCluster;
use super::host::ShardHost;
use crate::plan::cluster::{Discovery, HostTemplate};
use crate::plan::{Address, Host};

/// Hosts a shard keeps; a connection to one more gets a host of its own that nobody hears of.
const HOSTS_MAX: usize = 16 << 10;

/// The hosts of an ORIGINAL_DST cluster by address.
#[derive(Debug, Default)]
pub(super) struct OnDemand(RefCell<HashMap<SocketAddr, Entry, foldhash::fast::RandomState>>);

#[derive(Debug)]
struct Entry {
    host: Rc<ShardHost>,
    /// The cluster's set has it.
    shared: bool,
}

impl OnDemand {
    /// All of them.
    pub(super) fn hosts(&self) -> Vec<Rc<ShardHost>> {
        self.0.borrow().values().map(|entry| entry.host.clone()).collect()
    }

    /// The set has these hosts now; `left` are the others that were here. Answers those that are
    /// not wanted any more.
    pub(super) fn adopt(
        &self,
        set: &[Rc<ShardHost>],
        left: impl Iterator<Item = Rc<ShardHost>>,
    ) -> Vec<Rc<ShardHost>> {
        let mut known = self.0.borrow_mut();
        let before = std::mem::take(&mut *known);
        for host in set {
            if let Address::Ip(address) = host.plan().address {
                known.insert(address, Entry { host: host.clone(), shared: true });
            }
        }
        let mut gone = Vec::new();
        for host in left {
            let Address::Ip(address) = host.plan().address else { continue };
            // The control thread has not heard of it yet, unless it knows another.
            let new = before.get(&address).is_some_and(|entry| !entry.shared);
            if new && !known.contains_key(&address) {
                known.insert(address, Entry { host, shared: false });
            } else {
                gone.push(host);
            }
        }
        gone
    }
}

impl ShardCluster {
    /// Whether an ORIGINAL_DST cluster goes by the waypoint of the host that led here.
    pub(crate) fn by_waypoint(&self) -> bool {
        matches!(&self.shared().plan.discovery, Discovery::OriginalDst(plan) if plan.waypoint)
    }

    /// Where an ORIGINAL_DST cluster sends a connection: what the header that it looks at says,
    /// else `restored`, where the client wanted to go. `None` for other clusters, too.
    pub(crate) fn destination<'v>(
        &self,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
        restored: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let Discovery::OriginalDst(options) = &self.plan().discovery else { return None };
        let named = options.header.as_deref().and_then(header).and_then(|value| {
            let address = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            if address.is_none() {
                let shared = self.shared();
                shared.shard.stats.inc(shared.plan.stats.original_dst_host_invalid());
            }
            address
        });
        let mut to: SocketAddr = named.or_else(restored)?;
        if let Some(port) = options.port {
            to.set_port(port);
        }
        Some(to)
    }

    /// The host at an address, made if there is none.
    pub(super) fn pick_original(&self, to: Option<SocketAddr>) -> Option<Rc<ShardHost>> {
        let to = to?;
        let mut known = self.on_demand().0.borrow_mut();
        if let Some(entry) = known.get(&to) {
            return Some(entry.host.clone());
        }
        let plan = self.plan();
        let info = HostTemplate {
            hostname: Arc::from(format!("{}{to}", plan.name)),
            weight: 1,
            priority: 0,
            locality: Arc::default(),
            health_port: None,
            health_hostname: Arc::from(""),
            health_address: None,
            no_active_check: false,
            eds_health: Default::default(),
            canary: false,
            workload: None,
            socket: plan.sockets.bare,
            internal: None,
        };
        let host = Arc::new(Host::new(Address::Ip(to), info, false));
        let here = Rc::new(ShardHost::new(host.clone(), self.shared().clone()));
        if known.len() < HOSTS_MAX {
            known.insert(to, Entry { host: here.clone(), shared: false });
            self.shared().shard.outbox.host_added(plan.id, &host);
        }
        Some(here)
    }
}

#[cfg(test)]
mod tests;
