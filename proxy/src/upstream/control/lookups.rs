//! The look-ups of DNS clusters: one task for each name of a STRICT_DNS cluster, one for a
//! LOGICAL_DNS cluster.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use ringway_runtime as runtime;

use super::Managed;
use crate::plan::cluster::{Discovery, Dns, DnsTarget};
use crate::upstream::dns::refresh::{LogicalChange, LogicalHost, Schedule, StrictHosts};
use crate::upstream::dns::{Answer, Failure};

/// The hosts of all names of a cluster, which together are its set.
enum Names {
    Strict(Vec<StrictHosts>),
    Logical(LogicalHost),
}

/// Starts the tasks of a cluster.
pub(super) fn start(managed: &Rc<Managed>) -> Vec<runtime::Join<()>> {
    let (dns, names) = match &managed.plan.discovery {
        Discovery::Static | Discovery::OriginalDst(_) | Discovery::Eds(_) => return Vec::new(),
        Discovery::StrictDns(dns) => {
            (dns, Names::Strict(dns.targets.iter().map(|_| StrictHosts::default()).collect()))
        }
        Discovery::LogicalDns(dns) => (dns, Names::Logical(LogicalHost::default())),
    };
    let names = Rc::new(RefCell::new(names));
    (0..dns.targets.len())
        .map(|target| runtime::spawn(refresh(Rc::downgrade(managed), names.clone(), target)))
        .collect()
}

/// Looks one name up for ever.
async fn refresh(managed: Weak<Managed>, names: Rc<RefCell<Names>>, index: usize) {
    let mut schedule = None;
    let mut first = true;
    loop {
        let Some(now) = managed.upgrade() else { return };
        let Some((dns, target)) = settings(&now, index) else { return };
        let (stats, slots) = (&now.plan.stats, &now.cx.lookups);
        let slot = slots.take().await;
        now.cx.stats.inc(stats.update_attempt());
        let result = now.cx.resolver.lookup(&target.name, dns.family, &dns.resolvers).await;
        drop(slot);
        let schedule = schedule.get_or_insert_with(|| Schedule::new(dns));
        let pause = apply(&now, &names, (index, target), dns, result, schedule);
        if std::mem::take(&mut first) {
            now.unresolved.set(now.unresolved.get().saturating_sub(1));
            now.check_initialized();
        }
        drop(now);
        runtime::sleep(pause).await;
    }
}

fn settings(managed: &Managed, index: usize) -> Option<(&Dns, &DnsTarget)> {
    match &managed.plan.discovery {
        Discovery::Static | Discovery::OriginalDst(_) | Discovery::Eds(_) => None,
        Discovery::StrictDns(dns) | Discovery::LogicalDns(dns) => {
            Some((dns, dns.targets.get(index)?))
        }
    }
}

/// Applies a result; how long to wait.
fn apply(
    managed: &Managed,
    names: &RefCell<Names>,
    (index, target): (usize, &DnsTarget),
    dns: &Dns,
    result: Result<Answer, Failure>,
    schedule: &mut Schedule,
) -> std::time::Duration {
    let (stats, counters) = (&managed.cx.stats, &managed.plan.stats);
    let mut names = names.borrow_mut();
    // That a name has no address empties a STRICT_DNS cluster, but leaves a logical host where it
    // was: Envoy's difference.
    let answer = match (result, &*names) {
        (Ok(answer), Names::Logical(_)) if answer.addresses.is_empty() => None,
        (Ok(answer), _) => Some(answer),
        (Err(_), _) => None,
    };
    let Some(answer) = answer else {
        stats.inc(counters.update_failure());
        return schedule.after_failure(dns, runtime::rand_below);
    };
    stats.inc(counters.update_success());
    // Envoy makes a host of every address before it sees which are known.
    let made = match &*names {
        Names::Strict(_) => answer.addresses.len(),
        Names::Logical(host) => usize::from(host.host().is_none()),
    };
    stats.add(managed.plan.matched(target.template.socket), made as u64);
    let (changed, moved) = match &mut *names {
        Names::Strict(all) => {
            let update =
                |hosts: &mut StrictHosts| hosts.update(&managed.plan, target, &answer.addresses);
            (all.get_mut(index).is_some_and(update), false)
        }
        Names::Logical(host) => {
            let change = host.update(&managed.plan, target, &answer.addresses);
            (change == LogicalChange::New, change == LogicalChange::Moved)
        }
    };
    if changed {
        publish(managed, &names);
    } else {
        // No host came or went; sizes may still have to be shown for the first time.
        managed.count_members();
        if !moved {
            stats.inc(counters.update_no_rebuild());
        }
    }
    schedule.after_success(dns, answer.ttl, runtime::rand_below)
}

fn publish(managed: &Managed, names: &Names) {
    let hosts = match names {
        Names::Strict(all) => all.iter().flat_map(|target| target.hosts()).cloned().collect(),
        Names::Logical(host) => host.host().cloned().into_iter().collect(),
    };
    managed.publish(hosts);
}
