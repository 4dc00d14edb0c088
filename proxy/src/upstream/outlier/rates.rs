//! Success rates of a cluster's hosts over one interval, and who is an outlier by them.

use crate::plan::cluster::Outlier;

/// One host's results within an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Index of the host.
    pub(super) host: usize,
    /// Results.
    pub(super) total: u64,
    /// Percent that were a success.
    pub(super) percent: f64,
}

/// Hosts to eject, in the order they are judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// By `success_rate_stdev_factor`.
    pub(super) success_rate: Vec<usize>,
    /// By `failure_percentage_threshold`.
    pub(super) failure_percentage: Vec<usize>,
    /// Mean of the success rates.
    pub(super) average: f64,
    /// The success rate below which a host is an outlier.
    pub(super) threshold: f64,
}

/// Judges the hosts that are not ejected and had any result; `hosts` is how many there are in all.
///
/// A host is an outlier by success rate when it is below the mean minus factor times the standard
/// deviation of all hosts with `success_rate_request_volume` results, of which there must be
/// `success_rate_minimum_hosts`; by failure percentage when it fails that often by itself.
pub(super) fn judge(rules: &Outlier, hosts: usize, rates: &[Rate]) -> Verdict {
    let mut verdict = Verdict::default();
    let (least_sr, least_fp) = (
        rules.success_rate_minimum_hosts as usize,
        rules.failure_percentage_minimum_hosts as usize,
    );
    if hosts < least_sr && hosts < least_fp {
        return verdict;
    }
    let with_volume =
        |volume: u32| rates.iter().filter(move |rate| rate.total >= u64::from(volume)).copied();
    let valid: Vec<Rate> = with_volume(rules.success_rate_request_volume).collect();
    if !valid.is_empty() && valid.len() >= least_sr {
        let (average, limit) = threshold(&valid, rules.success_rate_stdev_factor);
        (verdict.average, verdict.threshold) = (average, limit);
        let below = valid.iter().filter(|rate| rate.percent < limit);
        verdict.success_rate = below.map(|rate| rate.host).collect();
    }
    let valid: Vec<Rate> = with_volume(rules.failure_percentage_request_volume).collect();
    if !valid.is_empty() && valid.len() >= least_fp {
        let limit = f64::from(rules.failure_percentage_threshold);
        let failing = valid.iter().filter(|rate| 100.0 - rate.percent >= limit);
        verdict.failure_percentage = failing.map(|rate| rate.host).collect();
    }
    verdict
}

/// The mean, and the mean minus `factor` times the (population) standard deviation.
fn threshold(rates: &[Rate], factor: f64) -> (f64, f64) {
    let n = rates.len() as f64;
    let mean = rates.iter().map(|rate| rate.percent).sum::<f64>() / n;
    let variance = rates.iter().map(|rate| (rate.percent - mean).powi(2)).sum::<f64>() / n;
    (mean, mean - factor * variance.sqrt())
}
