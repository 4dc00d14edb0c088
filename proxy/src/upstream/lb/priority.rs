//! Which priority gets how much load, and which is in panic. Pure arithmetic on counts.
//!
//! The rules are those of Envoy's documentation, "Priority levels", "Degraded endpoints" and
//! "Panic threshold": all divisions round down, what is lost by rounding goes to the first
//! priority that is available.

/// The hosts of one priority, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All hosts.
    pub(super) all: u32,
    /// Healthy and not degraded.
    pub(super) healthy: u32,
    /// Degraded.
    pub(super) degraded: u32,
    /// Not to be counted, such as hosts that wait for their first health check.
    pub(super) excluded: u32,
}

/// What one priority gets: percent of the load for its healthy and its degraded hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) healthy: u32,
    pub(super) degraded: u32,
    /// All hosts of the priority are used, whatever their health.
    pub(super) panic: bool,
}

/// The load of every priority. Sums to 100 unless there is no priority at all.
pub(super) fn distribute(counts: &[Counts], factor: u32, panic_threshold: f64) -> Vec<Load> {
    let mut loads = vec![Load::default(); counts.len()];
    // Envoy keeps the threshold as a whole number.
    let threshold = panic_threshold.clamp(0.0, 100.0).trunc();
    let healthy: Vec<u32> = counts.iter().map(|c| availability(c, c.healthy, factor)).collect();
    let degraded: Vec<u32> = counts.iter().map(|c| availability(c, c.degraded, factor)).collect();
    let total = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    if total > 0 {
        share(&mut loads, &healthy, &degraded, total);
    } else if threshold == 0.0 {
        // Nobody is available and nobody may panic: the load goes where no host will be found.
        if let Some(first) = loads.first_mut() {
            first.healthy = 100;
        }
        return loads;
    }
    for (load, counts) in loads.iter_mut().zip(counts) {
        load.panic = total < 100 && in_panic(counts, threshold);
    }
    if loads.iter().all(|load| load.panic) {
        share_by_size(&mut loads, counts);
    }
    loads
}

/// Percent of the hosts that count, times the overprovisioning factor, at most 100.
fn availability(counts: &Counts, hosts: u32, factor: u32) -> u32 {
    let counted = counts.all.saturating_sub(counts.excluded);
    if counted == 0 {
        return 0;
    }
    let percent = u64::from(factor) * u64::from(hosts) / u64::from(counted);
    percent.min(100) as u32
}

fn share(loads: &mut [Load], healthy: &[u32], degraded: &[u32], total: u32) {
    let mut rest = 100;
    for (load, available) in loads.iter_mut().zip(healthy) {
        load.healthy = (available * 100 / total).min(rest);
        rest -= load.healthy;
    }
    for (load, available) in loads.iter_mut().zip(degraded) {
        load.degraded = (available * 100 / total).min(rest);
        rest -= load.degraded;
    }
    let first_healthy = healthy.iter().position(|&a| a > 0);
    let first_degraded = degraded.iter().position(|&a| a > 0);
    if let Some(load) = first_healthy.and_then(|i| loads.get_mut(i)) {
        load.healthy += rest;
    } else if let Some(load) = first_degraded.and_then(|i| loads.get_mut(i)) {
        load.degraded += rest;
    }
}

fn in_panic(counts: &Counts, threshold: f64) -> bool {
    let counted = counts.all.saturating_sub(counts.excluded);
    let usable = f64::from(counts.healthy + counts.degraded);
    let percent = if counted == 0 { 0.0 } else { 100.0 * usable / f64::from(counted) };
    percent < threshold
}

/// Everybody is in panic: load follows the number of hosts.
fn share_by_size(loads: &mut [Load], counts: &[Counts]) {
    let all: u64 = counts.iter().map(|c| u64::from(c.all)).sum();
    if all == 0 {
        if let Some(first) = loads.first_mut() {
            *first = Load { healthy: 100, degraded: 0, panic: first.panic };
        }
        return;
    }
    let mut rest = 100;
    for (load, counts) in loads.iter_mut().zip(counts) {
        load.healthy = (100 * u64::from(counts.all) / all) as u32;
        load.degraded = 0;
        rest -= load.healthy;
    }
    let first = counts.iter().position(|c| c.all > 0);
    if let Some(load) = first.and_then(|i| loads.get_mut(i)) {
        load.healthy += rest;
    }
}
