//! Histograms in the text and JSON pages.

use super::float;
use super::params::BucketsMode;
use crate::observe::stats::histogram::{Buckets, Counts, QUANTILES, bucket_range};
use crate::observe::stats::merge::HistogramView;

/// Appends the lines of a histogram.
pub(super) fn text(
    name: &str,
    histogram: Option<&HistogramView>,
    (mode, limits): (BucketsMode, &[f64]),
    out: &mut String,
) {
    out.push_str(name);
    let Some(histogram) = histogram else { return out.push_str(": No recorded values\n") };
    match mode {
        BucketsMode::Summary => {
            out.push_str(": ");
            summary(histogram, out);
        }
        BucketsMode::Cumulative => {
            out.push_str(": ");
            bounds(histogram, limits, Buckets::cumulative, out);
        }
        BucketsMode::Disjoint => {
            out.push_str(": ");
            bounds(histogram, limits, Buckets::disjoint, out);
        }
        BucketsMode::Detailed => {
            out.push_str(":\n  totals=");
            detail(&histogram.cumulative, out);
            out.push_str("\n  intervals=");
            detail(&histogram.interval, out);
            out.push_str("\n  summary=");
            summary(histogram, out);
        }
    }
    out.push('\n');
}

fn summary(histogram: &HistogramView, out: &mut String) {
    let pairs = histogram.interval.quantiles().into_iter().zip(histogram.cumulative.quantiles());
    for (i, (quantile, (interval, total))) in QUANTILES.iter().zip(pairs).enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let percent = float::text(quantile * 100.0);
        let (interval, total) = (float::text(interval), float::text(total));
        out.push_str(&format!("P{percent}({interval},{total})"));
    }
}

/// How samples are counted between bounds.
type Count = fn(&Buckets, &[f64]) -> Counts;

fn bounds(histogram: &HistogramView, limits: &[f64], count: Count, out: &mut String) {
    let (interval, total) =
        (count(&histogram.interval, limits), count(&histogram.cumulative, limits));
    let counts = interval.iter().zip(&total);
    for (i, (bound, (interval, total))) in limits.iter().zip(counts).enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(&format!("B{}({interval},{total})", float::six_digits(*bound)));
    }
}

fn detail(buckets: &Buckets, out: &mut String) {
    for (i, &(bucket, count)) in buckets.counts.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        let (low, width) = bucket_range(bucket);
        let (low, width) = (float::six_digits(low), float::six_digits(width));
        out.push_str(&format!("{low},{width}:{count}"));
    }
}

/// Appends the JSON object of a histogram; `name` is quoted already.
pub(super) fn json(
    name: &str,
    histogram: Option<&HistogramView>,
    (mode, limits): (BucketsMode, &[f64]),
    out: &mut String,
) {
    let none = HistogramView::default();
    let histogram = histogram.unwrap_or(&none);
    out.push_str("{\"name\":");
    out.push_str(name);
    match mode {
        BucketsMode::Summary => {
            out.push_str(",\"values\":");
            json_quantiles(histogram, out);
        }
        BucketsMode::Cumulative => json_bounds(histogram, limits, Buckets::cumulative, out),
        BucketsMode::Disjoint => {
            json_bounds(histogram, limits, Buckets::disjoint, out);
        }
        BucketsMode::Detailed => {
            out.push_str(",\"totals\":");
            json_detail(&histogram.cumulative, out);
            out.push_str(",\"intervals\":");
            json_detail(&histogram.interval, out);
            out.push_str(",\"percentiles\":");
            json_quantiles(histogram, out);
        }
    }
    out.push('}');
}

/// `[0,25,…]`, the percentiles that are given.
pub(super) fn percentiles() -> String {
    let list: Vec<String> = QUANTILES.iter().map(|q| float::text(q * 100.0)).collect();
    format!("[{}]", list.join(","))
}

fn json_quantiles(histogram: &HistogramView, out: &mut String) {
    let interval = histogram.interval.quantiles();
    let pairs = histogram.cumulative.quantiles().into_iter().zip(interval);
    list(out, pairs, |(total, interval)| {
        let (total, interval) = (float::json(total), float::json(interval));
        format!("{{\"cumulative\":{total},\"interval\":{interval}}}")
    });
}

fn json_bounds(histogram: &HistogramView, limits: &[f64], count: Count, out: &mut String) {
    out.push_str(",\"buckets\":");
    let (interval, total) =
        (count(&histogram.interval, limits), count(&histogram.cumulative, limits));
    let counts = interval.iter().zip(&total);
    list(out, limits.iter().zip(counts), |(bound, (interval, total))| {
        let bound = float::json(*bound);
        format!("{{\"upper_bound\":{bound},\"interval\":{interval},\"cumulative\":{total}}}")
    });
}

fn json_detail(buckets: &Buckets, out: &mut String) {
    list(out, buckets.counts.iter(), |&(bucket, count)| {
        let (low, width) = bucket_range(bucket);
        let (low, width) = (float::json(low), float::json(width));
        format!("{{\"lower_bound\":{low},\"width\":{width},\"count\":{count}}}")
    });
}

fn list<T>(out: &mut String, items: impl Iterator<Item = T>, item: impl Fn(T) -> String) {
    out.push('[');
    for (i, value) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&item(value));
    }
    out.push(']');
}
