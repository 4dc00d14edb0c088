//! What /proc says of processes and cores.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// CPU time a process has used, all of its threads together.
///
/// From `/proc/PID/task/*/schedstat`, in nanoseconds: `/proc/PID/stat` counts in clock ticks of
/// 10 ms, too coarse for short runs. Threads that have ended are not in it.
///
/// # Errors
/// The process is gone, or the kernel keeps no schedstat (`CONFIG_SCHED_INFO`).
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let dir = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&dir).with_context(|| format!("{dir}: the process is gone"))?;
    let mut nanos = 0_u64;
    for task in tasks {
        let path = task?.path().join("schedstat");
        // A thread may end while the directory is read.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        nanos += first_number(&text).with_context(|| format!("{}: no number", path.display()))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// A thread of a process.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its number; that of the process is its first thread's.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// CPU time it has used.
    pub cpu: Duration,
}

/// All threads of a process.
///
/// # Errors
/// As [`cpu_time`].
pub fn threads(pid: u32) -> Result<Vec<Thread>> {
    let dir = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&dir).with_context(|| format!("{dir}: the process is gone"))?;
    let mut threads = Vec::new();
    for task in tasks {
        let path = task?.path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let read = |name| fs::read_to_string(path.join(name)).ok();
        // A thread may end while the directory is read.
        let (Some(id), Some(name), Some(stat)) = (id, read("comm"), read("schedstat")) else {
            continue;
        };
        let nanos =
            first_number(&stat).with_context(|| format!("{}: no number", path.display()))?;
        let name = name.trim_end().to_owned();
        threads.push(Thread { id, name, cpu: Duration::from_nanos(nanos) });
    }
    Ok(threads)
}

/// Resident memory of a process in bytes (`VmRSS`).
///
/// # Errors
/// The process is gone.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("{path}: process is gone"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(first_number).with_context(|| format!("{path}: no VmRSS"))?;
    Ok(kilobytes * 1024)
}

/// Time a core has been busy since the machine started, everything but idle and waiting for disks;
/// time taken away by the hypervisor (steal) counts as busy. Resolution: 10 ms.
///
/// # Errors
/// There is no such core.
pub fn core_busy(core: usize) -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    busy_of(&text, core).with_context(|| format!("/proc/stat: no core {core}"))
}

fn busy_of(stat: &str, core: usize) -> Option<Duration> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().flat_map(str::parse).collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time already.
    let busy = ticks.iter().take(8).enumerate().filter(|(at, _)| *at != 3 && *at != 4);
    Some(Duration::from_millis(10 * busy.map(|(_, ticks)| ticks).sum::<u64>()))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Raises the limit on open files as far as allowed and returns it.
#[must_use]
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wish = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Without permission the old limit stays, and is what is returned.
    let _ = setrlimit(Resource::Nofile, wish);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Restricts the calling thread, and what it starts from now on, to one core.
///
/// # Errors
/// There is no such core, or this process may not use it.
pub fn pin(core: usize) -> Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    anyhow::ensure!(core < CpuSet::MAX_CPU, "core {core}: the kernel knows no such core");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .with_context(|| format!("pinning to core {core}: allowed are the cores of `nproc`"))
}
