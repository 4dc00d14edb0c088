//! Signals as events, by `signalfd`.

use crate::current;
use crate::net::Source;
use crate::op::poll::Interest;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Keeps `signals` from interrupting this thread and those it starts from now on, so that
/// [`wait`] gets them. Call it before any thread is started.
///
/// # Errors
/// A number that is no signal.
pub fn block(signals: &[i32]) -> io::Result<()> {
    let set = set_of(signals)?;
    // SAFETY: the set is initialised and outlives the call. The standard library has no masks.
    let rc =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(rc)) }
}

/// Ignores `signal` in the whole process (what `SIGPIPE` needs).
///
/// # Errors
/// A number that is no signal.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: setting a signal to be ignored installs no handler that could run.
    let old = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if old == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for the first of `signals` and returns its number. They are blocked in this thread from
/// the call on; other threads must have them blocked too: see [`block`].
///
/// # Errors
/// A number that is no signal, or no descriptor left.
pub async fn wait(signals: &[i32]) -> io::Result<i32> {
    Signals::new(signals)?.next().await
}

/// A set of signals to wait for again and again: none is missed between two calls.
pub struct Signals {
    source: Source,
}

impl Signals {
    /// Blocks `signals` in this thread and opens a descriptor for them.
    ///
    /// # Errors
    /// A number that is no signal, or no descriptor left.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        block(signals)?;
        let set = set_of(signals)?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is initialised and only read during the call.
        let fd = unsafe { libc::signalfd(-1, &raw const set, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { source: Source::new(&current::shared(), fd)? })
    }

    /// The next signal's number.
    ///
    /// # Errors
    /// The runtime has ended.
    pub async fn next(&self) -> io::Result<i32> {
        let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
        self.source.io(Interest::Read, |fd| rustix::io::read(fd, &mut info[..])).await?;
        // The number is the first field.
        let [a, b, c, d, ..] = info;
        Ok(i32::from_ne_bytes([a, b, c, d]))
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

fn set_of(signals: &[i32]) -> io::Result<libc::sigset_t> {
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: both functions write into the set we own.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: as above; an invalid number is reported, not followed.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(set)
}
