//! How many shards this process should run.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Number of threads to run, and what decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// At least 1.
    pub threads: usize,
    /// The tightest limit.
    pub why: Why,
}

/// What limits the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The machine's cores.
    Cores,
    /// The cores this process may run on.
    Affinity,
    /// CPU time granted by a control group, rounded up to whole cores.
    CgroupQuota,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores",
            Self::Affinity => "affinity",
            Self::CgroupQuota => "cgroup quota",
        })
    }
}

/// The least of: cores of the machine, cores the calling thread may run on (ask before pinning it),
/// and the CPU quota of its control groups (v2 and v1), its own and those above.
pub fn available_concurrency() -> Concurrency {
    let cores = online_cores();
    let allowed = rustix::thread::sched_getaffinity(None).map_or(cores, |set| set.count() as usize);
    let quota = quota_cores(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    choose(cores, allowed, quota)
}

fn choose(cores: usize, allowed: usize, quota: Option<f64>) -> Concurrency {
    let mut best = Concurrency { threads: cores.max(1), why: Why::Cores };
    if allowed > 0 && allowed < best.threads {
        best = Concurrency { threads: allowed, why: Why::Affinity };
    }
    if let Some(quota) = quota {
        let whole = quota.ceil().max(1.0) as usize;
        if whole < best.threads {
            best = Concurrency { threads: whole, why: Why::CgroupQuota };
        }
    }
    best
}

fn online_cores() -> usize {
    let listed = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let count = count_list(listed.trim());
    if count > 0 {
        return count;
    }
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Counts a list such as `0-3,8`; 0 when it is none.
fn count_list(list: &str) -> usize {
    list.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if last >= first => last - first + 1,
                _ => 0,
            }
        })
        .sum()
}

/// The smallest quota, in cores, of the groups that `membership` names, under `root`.
fn quota_cores(root: &Path, membership: &Path) -> Option<f64> {
    let groups = fs::read_to_string(membership).ok()?;
    let mut least: Option<f64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let base = if controllers.is_empty() {
            root.to_path_buf()
        } else if controllers.split(',').any(|name| name == "cpu") {
            root.join("cpu")
        } else {
            continue;
        };
        for dir in ancestors(&base, path) {
            if let Some(quota) = quota_v2(&dir).or_else(|| quota_v1(&dir)) {
                least = Some(least.map_or(quota, |known| known.min(quota)));
            }
        }
    }
    least
}

/// The directory of a group and all above it, down to `base`. A path outside of our namespace
/// (`/../..`) names nothing below `base`, which is then the only one.
fn ancestors(base: &Path, path: &str) -> Vec<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|part| part.as_os_str() == "..") {
        return vec![base.to_path_buf()];
    }
    relative.ancestors().map(|part| base.join(part)).collect()
}

fn quota_v2(dir: &Path) -> Option<f64> {
    let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    ratio(quota, period)
}

fn quota_v1(dir: &Path) -> Option<f64> {
    let quota = fs::read_to_string(dir.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(dir.join("cpu.cfs_period_us")).ok()?;
    ratio(quota.trim(), period.trim())
}

/// `max` and `-1` (no limit) are no positive numbers.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_wins() {
        let of = |threads, why| Concurrency { threads, why };
        assert_eq!(choose(8, 8, None), of(8, Why::Cores));
        assert_eq!(choose(8, 3, None), of(3, Why::Affinity));
        assert_eq!(choose(8, 3, Some(1.5)), of(2, Why::CgroupQuota));
        assert_eq!(choose(8, 8, Some(0.1)), of(1, Why::CgroupQuota));
        assert_eq!(choose(2, 2, Some(64.0)), of(2, Why::Cores));
    }

    #[test]
    fn reads_lists_and_quotas() {
        assert_eq!(count_list("0-3,8,10-11"), 7);
        assert_eq!(count_list(""), 0);
        assert_eq!(ratio("150000", "100000"), Some(1.5));
        assert_eq!(ratio("max", "100000"), None);
        assert_eq!(ratio("-1", "100000"), None);
    }

    #[test]
    fn groups_above_count_too() {
        let root = std::env::temp_dir().join(format!("ringway-cgroup-{}", std::process::id()));
        let leaf = root.join("kubepods/pod1");
        fs::create_dir_all(&leaf).expect("directories");
        fs::write(root.join("kubepods/cpu.max"), "250000 100000\n").expect("write");
        fs::write(leaf.join("cpu.max"), "max 100000\n").expect("write");
        let membership = root.join("membership");
        fs::write(&membership, "0::/kubepods/pod1\n").expect("write");
        assert_eq!(quota_cores(&root, &membership), Some(2.5));
        fs::remove_dir_all(&root).expect("clean up");
    }
}
