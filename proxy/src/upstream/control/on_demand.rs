//! Hosts of ORIGINAL_DST clusters: gathered from all shards, and let go when nobody uses them.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime as runtime;

use super::Managed;
use crate::plan::cluster::{Discovery, HostShared};
use crate::plan::{Address, Host};

/// New hosts of so long a time become one change of the set: each change goes to every shard.
const GATHER: Duration = Duration::from_millis(20);

/// A shard has made a host.
pub(super) fn add(managed: &Rc<Managed>, host: Arc<Host>) {
    if !matches!(managed.plan.discovery, Discovery::OriginalDst(_)) {
        return;
    }
    let mut coming = managed.coming.borrow_mut();
    coming.push(host);
    if coming.len() > 1 {
        return;
    }
    let managed = Rc::downgrade(managed);
    runtime::spawn(async move {
        runtime::sleep(GATHER).await;
        if let Some(managed) = managed.upgrade() {
            take_in(&managed);
        }
    });
}

/// Puts what was gathered into the set. Of two hosts with one address the first stays.
fn take_in(managed: &Managed) {
    let coming = managed.coming.take();
    let mut hosts = managed.hosts.borrow().hosts.clone();
    let mut known: hashbrown::HashSet<Address, foldhash::fast::RandomState> =
        hosts.iter().map(|host| host.address.clone()).collect();
    hosts.extend(coming.into_iter().filter(|host| known.insert(host.address.clone())));
    managed.publish(hosts);
}

/// Starts the task that looks for unused hosts, in a cluster that has such.
pub(super) fn start(managed: &Rc<Managed>) -> Option<runtime::Join<()>> {
    let Discovery::OriginalDst(options) = &managed.plan.discovery else { return None };
    Some(runtime::spawn(sweep(Rc::downgrade(managed), options.cleanup)))
}

/// What a host had been used for when it was last looked at.
type Seen = hashbrown::HashMap<*const HostShared, u64, foldhash::fast::RandomState>;

async fn sweep(managed: Weak<Managed>, interval: Duration) {
    let mut seen = Seen::default();
    loop {
        runtime::sleep(interval).await;
        let Some(managed) = managed.upgrade() else { return };
        let hosts = managed.hosts.borrow().hosts.clone();
        let mut now = Seen::default();
        let used: Vec<Arc<Host>> = hosts
            .iter()
            .filter(|host| {
                let totals = host.pages.totals();
                let uses = totals.cx_total + totals.rq_total;
                let busy = totals.cx_active + totals.rq_active + totals.rq_pending_active > 0;
                let used = busy || seen.get(&host.identity()) != Some(&uses);
                now.insert(host.identity(), uses);
                used
            })
            .cloned()
            .collect();
        seen = now;
        if used.len() < hosts.len() {
            managed.publish(used);
        }
    }
}
