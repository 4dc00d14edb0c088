//! The control thread's side: who is ejected, for how long, and who comes back.

use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::Instant;

use super::log::{Event, EventLog, Rates};
use super::rates::{Rate, Verdict, judge};
use super::report::reset_rows;
use crate::control::message::EjectReason;
use crate::observe::stats::blocks::OutlierDetectionStats;
use crate::observe::stats::{Counter, ShardStats};
use crate::plan::Host;
use crate::plan::cluster::{HostShared, HostState, Outlier};

/// Outlier detection of one cluster. It has no clock, no timer and no random numbers of its own:
/// the caller gives the time, calls [`Detector::sweep`] every `interval`, and draws.
///
/// LIFECYCLE of a host: in → ejected (`FAILED_OUTLIER` set, everybody told) → in again after
/// `base_ejection_time × number of ejections` (at most `max_ejection_time`, plus jitter), seen at a
/// sweep, or after a passed health check. The multiplier grows with each ejection and falls by one
/// with each interval spent in.
#[derive(Debug)]
pub struct Detector {
    rules: Outlier,
    hosts: Vec<Monitored>,
    ejected: u32,
}

/// What the detector does to the rest of the process.
pub struct Observer<'a> {
    /// The control thread's page.
    pub stats: &'a ShardStats,
    /// `cluster.<name>.outlier_detection.*`
    pub names: &'a OutlierDetectionStats,
    /// A number below its argument.
    pub random_below: &'a mut dyn FnMut(u64) -> u64,
    /// The time.
    pub now: Instant,
    /// The cluster's name.
    pub cluster: &'a str,
    /// Where ejections are logged.
    pub log: Option<&'a EventLog>,
}

#[derive(Debug)]
struct Monitored {
    host: Arc<Host>,
    ejected_at: Option<Instant>,
    returned_at: Option<Instant>,
    jitter: Duration,
    /// The last time, whether or not it is over.
    last_ejected_at: Option<Instant>,
    ejections: u32,
    /// Multiplier of `base_ejection_time`.
    backoff: u32,
    /// External and local results (total, success) at the last sweep.
    external: (u64, u64),
    local: (u64, u64),
}

impl Detector {
    /// For a cluster without hosts yet.
    pub fn new(rules: Outlier) -> Self {
        Self { rules, hosts: Vec::new(), ejected: 0 }
    }

    /// How often [`Detector::sweep`] is to be called.
    pub fn interval(&self) -> Duration {
        self.rules.interval
    }

    /// Takes over a set of hosts; those that stay keep their history.
    pub fn set_hosts(&mut self, hosts: &[Arc<Host>], o: &mut Observer<'_>) {
        let old = std::mem::take(&mut self.hosts);
        let mut old: hashbrown::HashMap<*const HostShared, Monitored, foldhash::fast::RandomState> =
            old.into_iter().map(|m| (m.host.identity(), m)).collect();
        for host in hosts {
            let known = old.remove(&host.identity());
            let known = known.map(|known| Monitored { host: host.clone(), ..known });
            self.hosts.push(known.unwrap_or_else(|| Monitored::new(host)));
        }
        for gone in old.values() {
            if gone.is_ejected() {
                self.count_return(o);
            }
        }
    }

    /// A shard saw a host break a rule. True if the host was ejected.
    pub fn eject(&mut self, host: &Arc<Host>, reason: EjectReason, o: &mut Observer<'_>) -> bool {
        let Some(at) = self.hosts.iter().position(|m| m.host.is_same(host)) else {
            return false;
        };
        if self.hosts.get(at).is_none_or(Monitored::is_ejected) {
            return false;
        }
        o.stats.inc(detected(o.names, reason));
        let done = self.try_eject(at, (reason, Rates::default()), o);
        // The row begins anew, so that the next one is noticed even if this one had no effect.
        let row = match reason {
            EjectReason::Consecutive5xx => {
                o.stats.inc(o.names.ejections_consecutive_5xx());
                &host.state.consecutive_5xx
            }
            EjectReason::ConsecutiveGatewayFailure => &host.state.consecutive_gateway,
            EjectReason::ConsecutiveLocalOriginFailure => &host.state.consecutive_local_origin,
            _ => return done,
        };
        row.store(0, std::sync::atomic::Ordering::Relaxed);
        done
    }

    /// A host passed an active health check. True if that ended an ejection.
    pub fn health_check_passed(&mut self, host: &Arc<Host>, o: &mut Observer<'_>) -> bool {
        if !self.rules.uneject_on_health_check
            || host.state.flags() & HostState::FAILED_ACTIVE_HC != 0
        {
            return false;
        }
        let found = self.hosts.iter_mut().find(|m| m.host.is_same(host));
        let Some(monitored) = found.filter(|m| m.is_ejected()) else { return false };
        monitored.come_back(o.now);
        monitored.log(None, false, o);
        self.count_return(o);
        true
    }

    /// What is due once per interval. True if any host was ejected or came back.
    pub fn sweep(&mut self, o: &mut Observer<'_>) -> bool {
        let mut changed = false;
        for at in 0..self.hosts.len() {
            let rules = &self.rules;
            let due = |m: &&mut Monitored| m.is_due(rules, o.now);
            if let Some(monitored) = self.hosts.get_mut(at).filter(due) {
                monitored.come_back(o.now);
                monitored.log(None, false, o);
                self.count_return(o);
                changed = true;
            }
        }
        changed |= self.judge_rates(o);
        for monitored in &mut self.hosts {
            let calm = |returned| o.now.since(returned) >= self.rules.interval;
            if !monitored.is_ejected() && monitored.returned_at.is_some_and(calm) {
                monitored.backoff = monitored.backoff.saturating_sub(1);
            }
        }
        changed
    }

    /// Number of hosts ejected now.
    pub fn ejected(&self) -> u32 {
        self.ejected
    }

    fn judge_rates(&mut self, o: &mut Observer<'_>) -> bool {
        let (mut external, mut local) = (Vec::new(), Vec::new());
        for (host, monitored) in self.hosts.iter_mut().enumerate() {
            let totals = monitored.host.pages.totals();
            let ejected = monitored.is_ejected();
            let rate = |now: (u64, u64), before: &mut (u64, u64)| {
                let total = now.0.saturating_sub(before.0);
                let success = now.1.saturating_sub(before.1);
                *before = now;
                let percent = success as f64 * 100.0 / total as f64;
                (total > 0 && !ejected).then_some(Rate { host, total, percent })
            };
            external.extend(rate(totals.external, &mut monitored.external));
            local.extend(rate(totals.local, &mut monitored.local));
        }
        let hosts = self.hosts.len();
        let mut changed = false;
        let origins = [
            (external, EjectReason::SuccessRate, EjectReason::FailurePercentage),
            (local, EjectReason::SuccessRateLocalOrigin, EjectReason::FailurePercentageLocalOrigin),
        ];
        for (rates, by_rate, by_percentage) in origins {
            let verdict = judge(&self.rules, hosts, &rates);
            let of = |host| rates.iter().find(|r| r.host == host).map_or(0.0, |r| r.percent);
            let Verdict { success_rate, failure_percentage, average, threshold } = verdict;
            for at in success_rate {
                o.stats.inc(o.names.ejections_success_rate());
                let rates = Rates { host: of(at), average, threshold };
                changed |= self.eject_by_rate(at, (by_rate, rates), o);
            }
            for at in failure_percentage {
                let rates = Rates { host: of(at), ..Rates::default() };
                changed |= self.eject_by_rate(at, (by_percentage, rates), o);
            }
        }
        changed
    }

    fn eject_by_rate(
        &mut self,
        at: usize,
        broke: (EjectReason, Rates),
        o: &mut Observer<'_>,
    ) -> bool {
        if self.hosts.get(at).is_none_or(Monitored::is_ejected) {
            return false;
        }
        o.stats.inc(detected(o.names, broke.0));
        self.try_eject(at, broke, o)
    }

    /// Ejects unless too many are out already or the rule is only watched.
    fn try_eject(&mut self, at: usize, broke: (EjectReason, Rates), o: &mut Observer<'_>) -> bool {
        let reason = broke.0;
        let share = 100.0 * f64::from(self.ejected + 1) / self.hosts.len().max(1) as f64;
        let allowed = share <= f64::from(self.rules.max_ejection_percent.min(100))
            || (self.rules.always_eject_one && self.ejected == 0);
        if !allowed {
            o.stats.inc(o.names.ejections_overflow());
            return false;
        }
        if matches!(reason, EjectReason::Consecutive5xx | EjectReason::SuccessRate) {
            o.stats.inc(o.names.ejections_total());
        }
        if (o.random_below)(100) >= u64::from(self.enforcing(reason)) {
            if let Some(monitored) = self.hosts.get(at) {
                monitored.log(Some(broke), false, o);
            }
            return false;
        }
        let rules = &self.rules;
        let Some(monitored) = self.hosts.get_mut(at) else { return false };
        let jitter_max = rules.ejection_jitter.as_millis() as u64;
        monitored.jitter = Duration::from_millis((o.random_below)(jitter_max + 1));
        monitored.go_out(rules, o.now);
        monitored.log(Some(broke), true, o);
        self.ejected += 1;
        o.stats.inc(o.names.ejections_enforced_total());
        o.stats.inc(enforced(o.names, reason));
        o.stats.gauge_add(o.names.ejections_active(), 1);
        true
    }

    /// Percent of the cases in which a rule takes effect.
    fn enforcing(&self, reason: EjectReason) -> u32 {
        let rules = &self.rules;
        match reason {
            EjectReason::Consecutive5xx => rules.enforcing_consecutive_5xx,
            EjectReason::ConsecutiveGatewayFailure => rules.enforcing_consecutive_gateway,
            EjectReason::ConsecutiveLocalOriginFailure => rules.enforcing_local_origin,
            EjectReason::SuccessRate => rules.enforcing_success_rate,
            EjectReason::SuccessRateLocalOrigin => rules.enforcing_local_origin_success_rate,
            EjectReason::FailurePercentage => rules.enforcing_failure_percentage,
            EjectReason::FailurePercentageLocalOrigin => {
                rules.enforcing_failure_percentage_local_origin
            }
        }
    }

    fn count_return(&mut self, o: &mut Observer<'_>) {
        self.ejected = self.ejected.saturating_sub(1);
        o.stats.gauge_sub(o.names.ejections_active(), 1);
    }
}

impl Monitored {
    fn new(host: &Arc<Host>) -> Self {
        // It may have been ejected under a configuration that nobody remembers.
        host.state.clear(HostState::FAILED_OUTLIER);
        let totals = host.pages.totals();
        Self {
            host: host.clone(),
            ejected_at: None,
            returned_at: None,
            jitter: Duration::ZERO,
            last_ejected_at: None,
            ejections: 0,
            backoff: 0,
            external: totals.external,
            local: totals.local,
        }
    }

    fn is_ejected(&self) -> bool {
        self.ejected_at.is_some()
    }

    fn go_out(&mut self, rules: &Outlier, now: Instant) {
        self.host.state.set(HostState::FAILED_OUTLIER);
        self.ejected_at = Some(now);
        self.last_ejected_at = Some(now);
        self.ejections = self.ejections.saturating_add(1);
        // The multiplier stops growing where it would pass the longest ejection.
        if rules.base_ejection * self.backoff < rules.max_ejection + rules.base_ejection {
            self.backoff += 1;
        }
    }

    fn is_due(&self, rules: &Outlier, now: Instant) -> bool {
        let time = (rules.base_ejection * self.backoff).min(rules.max_ejection) + self.jitter;
        self.ejected_at.is_some_and(|at| now.since(at) >= time)
    }

    /// Tells the log of it.
    fn log(&self, broke: Option<(EjectReason, Rates)>, enforced: bool, o: &Observer<'_>) {
        let Some(log) = o.log else { return };
        let last = if broke.is_some() { self.returned_at } else { self.last_ejected_at };
        let since = last.map(|last| o.now.since(last));
        let event = Event { broke, enforced, ejections: self.ejections, since };
        log.write(o.cluster, &self.host, &event);
    }

    fn come_back(&mut self, now: Instant) {
        self.host.state.clear(HostState::FAILED_OUTLIER);
        self.ejected_at = None;
        self.returned_at = Some(now);
        reset_rows(&self.host);
    }
}

fn detected(names: &OutlierDetectionStats, reason: EjectReason) -> Counter {
    match reason {
        EjectReason::Consecutive5xx => names.ejections_detected_consecutive_5xx(),
        EjectReason::ConsecutiveGatewayFailure => {
            names.ejections_detected_consecutive_gateway_failure()
        }
        EjectReason::ConsecutiveLocalOriginFailure => {
            names.ejections_detected_consecutive_local_origin_failure()
        }
        EjectReason::SuccessRate => names.ejections_detected_success_rate(),
        EjectReason::SuccessRateLocalOrigin => names.ejections_detected_local_origin_success_rate(),
        EjectReason::FailurePercentage => names.ejections_detected_failure_percentage(),
        EjectReason::FailurePercentageLocalOrigin => {
            names.ejections_detected_local_origin_failure_percentage()
        }
    }
}

fn enforced(names: &OutlierDetectionStats, reason: EjectReason) -> Counter {
    match reason {
        EjectReason::Consecutive5xx => names.ejections_enforced_consecutive_5xx(),
        EjectReason::ConsecutiveGatewayFailure => {
            names.ejections_enforced_consecutive_gateway_failure()
        }
        EjectReason::ConsecutiveLocalOriginFailure => {
            names.ejections_enforced_consecutive_local_origin_failure()
        }
        EjectReason::SuccessRate => names.ejections_enforced_success_rate(),
        EjectReason::SuccessRateLocalOrigin => names.ejections_enforced_local_origin_success_rate(),
        EjectReason::FailurePercentage => names.ejections_enforced_failure_percentage(),
        EjectReason::FailurePercentageLocalOrigin => {
            names.ejections_enforced_local_origin_failure_percentage()
        }
    }
}
