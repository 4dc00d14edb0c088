//! The log-linear histogram of Envoy (circllhist): 90 buckets a decade, two significant digits.

use smallvec::SmallVec;

/// The quantiles Envoy computes, as fractions.
pub const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// The default upper bounds of Prometheus buckets.
pub const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5,
    1.8e6, 3.6e6,
];

/// Samples by bound.
pub type Counts = SmallVec<[u64; BOUNDS.len()]>;

const PER_DECADE: u16 = 90;

/// The bucket of a value: 0 for 0, then `1 + 90·decade + (two leading digits − 10)`; below 1,801.
#[inline]
pub fn bucket_of(value: u64) -> u16 {
    if value < 10 {
        return if value == 0 { 0 } else { (value as u16) * 10 - 9 };
    }
    let decade = value.ilog10();
    let digits = (value / 10u64.pow(decade - 1)) as u16;
    1 + decade as u16 * PER_DECADE + digits - 10
}

/// Lower bound and width of a bucket. The arithmetic is the original's, so that printed digits
/// agree.
pub fn bucket_range(bucket: u16) -> (f64, f64) {
    if bucket == 0 {
        return (0.0, 0.0);
    }
    let decade = (bucket - 1) / PER_DECADE;
    let digits = f64::from((bucket - 1) % PER_DECADE + 10);
    let power = 10f64.powi(i32::from(decade));
    (digits / 10.0 * power, power / 10.0)
}

/// A merged histogram: counts by bucket, sorted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    /// `(bucket, count)` in ascending order, no zero counts.
    pub counts: Vec<(u16, u64)>,
}

impl Buckets {
    /// From counts in any order; equal buckets are added up.
    pub fn from_unsorted(mut counts: Vec<(u16, u64)>) -> Self {
        counts.sort_unstable_by_key(|c| c.0);
        counts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        counts.retain(|c| c.1 > 0);
        Self { counts }
    }

    /// Number of samples.
    pub fn samples(&self) -> u64 {
        self.counts.iter().map(|c| c.1).sum()
    }

    /// The sum of samples as Envoy approximates it: each at the point of its bucket that
    /// minimises the relative error.
    pub fn sum(&self) -> f64 {
        self.counts.iter().map(|&(b, n)| midpoint(b) * n as f64).sum()
    }

    /// What was added since `before`, an earlier state of the same histogram.
    pub fn since(&self, before: &Self) -> Self {
        let mut old = before.counts.iter().peekable();
        let counts = self.counts.iter().filter_map(|&(bucket, count)| {
            while old.next_if(|o| o.0 < bucket).is_some() {}
            let was = old.next_if(|o| o.0 == bucket).map_or(0, |o| o.1);
            let n = count.saturating_sub(was);
            (n > 0).then_some((bucket, n))
        });
        Self { counts: counts.collect() }
    }

    /// The values at [`QUANTILES`]; NaN without samples.
    ///
    /// The q-quantile is the `max(1, ceil(q·n))`-th smallest sample; the k-th of c samples in a
    /// bucket is taken at `k / (c + 1)` of its width.
    pub fn quantiles(&self) -> [f64; 10] {
        let total = self.samples();
        let mut out = [f64::NAN; 10];
        if total == 0 {
            return out;
        }
        let mut rest = self.counts.iter();
        let (mut below, mut current) = (0, rest.next());
        for (value, q) in out.iter_mut().zip(QUANTILES) {
            let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
            while let Some(&(_, count)) = current
                && below + count < rank
            {
                below += count;
                current = rest.next();
            }
            if let Some(&(bucket, count)) = current {
                let (low, width) = bucket_range(bucket);
                *value = low + width * ((rank - below) as f64 / (count + 1) as f64);
            }
        }
        out
    }

    /// Samples at or below each bound, which ascend; a bucket that contains the bound counts as
    /// below it, as in Envoy.
    pub fn cumulative(&self, bounds: &[f64]) -> Counts {
        let mut counts = self.counts.iter().peekable();
        let mut sum = 0;
        let up_to = bounds.iter().map(|bound| {
            while let Some(&(_, n)) = counts.next_if(|c| bucket_range(c.0).0 <= *bound) {
                sum += n;
            }
            sum
        });
        up_to.collect()
    }

    /// Samples between consecutive bounds.
    pub fn disjoint(&self, bounds: &[f64]) -> Counts {
        let mut out = self.cumulative(bounds);
        let mut below = 0;
        for value in &mut out {
            let all = *value;
            *value = all - below;
            below = all;
        }
        out
    }
}

fn midpoint(bucket: u16) -> f64 {
    let (low, width) = bucket_range(bucket);
    if low == 0.0 {
        return 0.0;
    }
    low + width * (low / (low + low + width))
}
