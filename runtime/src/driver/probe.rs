//! Which driver this kernel and this process' permissions allow.

use super::{Driver, Epoll, Sim, Uring, uring::Queues};
use crate::buf::Pool;
use crate::shard::{Backend, Config, Level};
use std::io;

/// A driver, its level and, when that is not the best there is, why.
pub(crate) type Opened = (Driver, Level, Option<String>);

/// Opens what the configuration asks for.
///
/// # Errors
/// The level asked for by name is not to be had; the message says why and what to do.
pub(crate) fn open(config: &Config, pool: &Pool) -> io::Result<Opened> {
    let queues =
        Queues { submission: config.submission_entries, completion: config.completion_entries };
    let multishot = || Uring::multishot(queues, &config.buffers, pool);
    match &config.backend {
        Backend::Auto => match multishot() {
            Ok(driver) => Ok((Driver::Uring(Box::new(driver)), Level::Uring, None)),
            Err(err) => Ok((Driver::Epoll(Epoll::new()?), Level::Epoll, notice(&err))),
        },
        Backend::Uring => match multishot() {
            Ok(driver) => Ok((Driver::Uring(Box::new(driver)), Level::Uring, None)),
            Err(err) => Err(explain("uring", &err)),
        },
        Backend::Uring511 => match Uring::single_shot(queues) {
            Ok(driver) => Ok((Driver::Uring(Box::new(driver)), Level::Uring511, None)),
            Err(err) => Err(explain("uring-5.11", &err)),
        },
        Backend::Sim(network) => Ok((Driver::Sim(Sim::new(network)), Level::Sim, None)),
        Backend::Epoll => Ok((Driver::Epoll(Epoll::new()?), Level::Epoll, None)),
    }
}

/// What to tell the operator when `auto` fell back to epoll; nothing where that is as good.
fn notice(err: &io::Error) -> Option<String> {
    match err.raw_os_error() {
        // Older than 6.1, where epoll measures cheaper than io_uring.
        Some(libc::EINVAL) => None,
        _ => Some(format!("io_uring is not used, epoll is: {}", reason(err))),
    }
}

fn explain(level: &str, err: &io::Error) -> io::Error {
    let hint = match err.raw_os_error() {
        Some(libc::EINVAL) if level == "uring" => {
            "it needs Linux 6.1 or later; use auto, epoll or uring-5.11".to_owned()
        }
        _ => reason(err),
    };
    io::Error::new(err.kind(), format!("I/O level {level} cannot be used: {hint}"))
}

fn reason(err: &io::Error) -> String {
    match err.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => format!(
            "{err}; allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
             profile, and set the sysctl kernel.io_uring_disabled to 0"
        ),
        Some(libc::ENOSYS) => {
            format!("{err}; this kernel, or the sandbox it runs in, has no io_uring")
        }
        Some(libc::ENOMEM) => {
            format!("{err}; raise the limit of locked memory (ulimit -l, LimitMEMLOCK=)")
        }
        _ => err.to_string(),
    }
}
