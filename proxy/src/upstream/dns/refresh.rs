//! What an answer does to a cluster's hosts, and when to ask again. No clock, no I/O.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::plan::cluster::{Dns, DnsTarget, HostState, HostTemplate, Moved};
use crate::plan::{Address, Cluster, Host};

/// The hosts one name of a STRICT_DNS cluster has brought: one for each address.
#[derive(Debug, Default)]
pub struct StrictHosts {
    hosts: Vec<Arc<Host>>,
}

impl StrictHosts {
    /// The hosts at the moment.
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Takes an answer over: addresses that stay keep their hosts, with health and connections.
    /// Where there are active health checks, a host that is still healthy outlives its address
    /// until it fails one (`/pending_dynamic_removal`), unless
    /// `ignore_health_on_host_removal`. True if there are other hosts now.
    pub fn update(&mut self, plan: &Cluster, target: &DnsTarget, answer: &[IpAddr]) -> bool {
        let mut addresses: Vec<Address> = Vec::with_capacity(answer.len());
        for ip in answer {
            let address = Address::Ip(SocketAddr::new(*ip, target.port));
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let checked = !plan.health_checks.is_empty();
        let before = self.hosts.len();
        self.hosts.retain(|host| {
            if addresses.contains(&host.address) {
                host.state.clear(HostState::PENDING_REMOVAL);
                return true;
            }
            let failed =
                HostState::FAILED_ACTIVE_HC | HostState::FAILED_EDS | HostState::EDS_DRAINING;
            let stays =
                checked && !plan.ignore_health_on_removal && host.state.flags() & failed == 0;
            if stays {
                host.state.set(HostState::PENDING_REMOVAL);
            }
            stays
        });
        let mut changed = self.hosts.len() != before;
        for address in addresses {
            if !self.hosts.iter().any(|host| host.address == address) {
                let host = Host::new(address, template(target), checked);
                self.hosts.push(Arc::new(host));
                changed = true;
            }
        }
        changed
    }
}

/// The one host of a LOGICAL_DNS cluster.
#[derive(Debug, Default)]
pub struct LogicalHost {
    host: Option<Arc<Host>>,
}

/// What an answer did to a [`LogicalHost`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogicalChange {
    /// It is where it was.
    Same,
    /// New connections go elsewhere.
    Moved,
    /// It is there for the first time.
    New,
}

impl LogicalHost {
    /// The host, once there was an answer.
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.host.as_ref()
    }

    /// Takes an answer with at least one address over (an empty one changes nothing, as in Envoy):
    /// the first is the address, the others are tried after it.
    pub fn update(
        &mut self,
        plan: &Cluster,
        target: &DnsTarget,
        answer: &[IpAddr],
    ) -> LogicalChange {
        let mut addresses = answer.iter().map(|ip| Address::Ip(SocketAddr::new(*ip, target.port)));
        let Some(address) = addresses.next() else { return LogicalChange::Same };
        let additional: Vec<Address> = addresses.collect();
        let Some(host) = &self.host else {
            let checked = !plan.health_checks.is_empty();
            // Its priority counts as 0, whatever is configured.
            let info = HostTemplate { priority: 0, ..template(target) };
            let host = Host { additional, ..Host::new(address, info, checked) };
            self.host = Some(Arc::new(host));
            return LogicalChange::New;
        };
        let known = match &*host.moved.load() {
            Some(moved) => moved.address == address && moved.additional == additional,
            None => host.address == address && host.additional == additional,
        };
        if known {
            return LogicalChange::Same;
        }
        host.moved.store(Some(Arc::new(Moved { address, additional })));
        LogicalChange::Moved
    }
}

/// Hosts made from a name are called like it, unless they have a name of their own.
fn template(target: &DnsTarget) -> HostTemplate {
    let mut template = target.template.clone();
    if template.hostname.is_empty() {
        template.hostname = target.name.clone();
    }
    template
}

/// Time from one look-up to the next.
#[derive(Debug)]
pub struct Schedule {
    /// The next failure's longest wait.
    failure: Duration,
}

impl Schedule {
    /// For a cluster's settings.
    pub fn new(dns: &Dns) -> Self {
        Self { failure: dns.failure_refresh.0 }
    }

    /// After an answer: the refresh rate, or the answer's TTL where that is to be respected (and
    /// not 0), plus jitter. `below` draws a number.
    pub fn after_success(
        &mut self,
        dns: &Dns,
        ttl: Option<Duration>,
        mut below: impl FnMut(u64) -> u64,
    ) -> Duration {
        self.failure = dns.failure_refresh.0;
        let ttl = ttl.filter(|ttl| dns.respect_ttl && !ttl.is_zero());
        let jitter = dns.jitter.as_millis() as u64;
        let jitter = if jitter > 0 { below(jitter) } else { 0 };
        at_least_a_moment(ttl.unwrap_or(dns.refresh) + Duration::from_millis(jitter))
    }

    /// After a failure: a fixed time where base and maximum are equal, else somewhere between
    /// nothing and a limit that doubles with each failure in a row up to the maximum.
    pub fn after_failure(&mut self, dns: &Dns, mut below: impl FnMut(u64) -> u64) -> Duration {
        let (base, most) = dns.failure_refresh;
        if base >= most {
            return at_least_a_moment(base);
        }
        let limit = self.failure;
        self.failure = (limit * 2).min(most);
        at_least_a_moment(Duration::from_millis(below(limit.as_millis() as u64)))
    }
}

fn at_least_a_moment(pause: Duration) -> Duration {
    pause.max(Duration::from_millis(1))
}
