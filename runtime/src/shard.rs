//! [`Runtime`]: one thread's tasks, timers and I/O, turned round by round.

use crate::buf::{BufferConfig, Pool};
use crate::current;
use crate::driver::{self, Io};
use crate::mesh::Doorbells;
use crate::net::Pipe;
use crate::rand::Rng;
use crate::sim::Network;
use crate::task::Tasks;
use crate::time::wheel::Wheel;
use crate::time::{Clock, Instant, TICK};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How a [`Runtime`] does its I/O.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// What measures cheapest on this kernel: io_uring with all it has from 6.1, else epoll.
    #[default]
    Auto,
    /// io_uring with multishot operations and buffer rings (Linux 6.1).
    Uring,
    /// io_uring with single-shot operations only (Linux 5.11).
    Uring511,
    /// epoll.
    Epoll,
    /// A simulated network with virtual time, for tests.
    Sim(Network),
}

impl FromStr for Backend {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "uring-5.11" => Ok(Self::Uring511),
            "epoll" => Ok(Self::Epoll),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("unknown I/O level {name:?}: use auto, uring, uring-5.11 or epoll"),
            )),
        }
    }
}

/// The level a runtime ended up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// io_uring, multishot.
    Uring,
    /// io_uring, single-shot.
    Uring511,
    /// epoll.
    Epoll,
    /// The simulated network.
    Sim,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uring => "uring",
            Self::Uring511 => "uring-5.11",
            Self::Epoll => "epoll",
            Self::Sim => "sim",
        })
    }
}

/// What a runtime is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// How I/O is done.
    pub backend: Backend,
    /// The core to pin the calling thread to.
    pub cpu: Option<usize>,
    /// Memory for buffers.
    pub buffers: BufferConfig,
    /// Seed of the random numbers; 0 takes one from the system.
    pub seed: u64,
    /// Name of the thread, as tools show it (15 bytes). Empty leaves it as it is.
    pub name: String,
    /// Entries of the submission queue (io_uring): a power of two.
    pub submission_entries: u32,
    /// Entries of the completion queue (io_uring): a power of two.
    pub completion_entries: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            cpu: None,
            buffers: BufferConfig::default(),
            seed: 0,
            name: String::new(),
            submission_entries: 2048,
            completion_entries: 8192,
        }
    }
}

/// What a handle needs of its runtime.
pub(crate) struct Shared {
    pub(crate) id: u16,
    pub(crate) clock: Clock,
    pub(crate) wheel: RefCell<Wheel>,
    pub(crate) tasks: Tasks,
    pub(crate) io: RefCell<Io>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) rng: Rng,
    /// Pipes that no splice uses just now.
    pub(crate) pipes: RefCell<Vec<Pipe>>,
    /// Doorbells to ring at the end of the turn.
    pub(crate) bells: RefCell<Vec<Rc<dyn Doorbells>>>,
}

impl Shared {
    pub(crate) fn usage(&self) -> Usage {
        let io = self.io.borrow();
        Usage {
            tasks: self.tasks.len(),
            timers: self.wheel.borrow().len(),
            streams: io.streams.len(),
            listeners: io.listeners.len(),
            sources: io.sources.len(),
            buffers: self.pool.leased(),
        }
    }
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Tasks polled.
    pub tasks: usize,
    /// Events and completions handled.
    pub events: usize,
    /// Timers fired.
    pub timers: usize,
}

impl Turn {
    /// Whether there was nothing to do.
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// Runs tasks, timers and I/O on the thread that made it.
///
/// Handles (streams, timers, joins) refer to the runtime that was current when they were made, and
/// keep what they need of it; after its end they return errors. Several runtimes can live on one
/// thread.
pub struct Runtime {
    shared: Rc<Shared>,
    level: Level,
    notice: Option<String>,
    /// Kept for its allocation.
    fired: Vec<Waker>,
    /// When the pool gives back what it has not needed.
    next_trim: Instant,
}

/// Time between two looks at unneeded buffers.
const TRIM_EVERY: Duration = Duration::from_secs(1);

static NEXT_ID: AtomicU16 = AtomicU16::new(0);

impl Runtime {
    /// Makes a runtime for the calling thread, and pins the thread when asked to.
    ///
    /// # Errors
    /// The level asked for is not there, and the message says why and what to do; or the core
    /// cannot be pinned to.
    pub fn new(config: Config) -> io::Result<Self> {
        if let Some(cpu) = config.cpu {
            pin_to(cpu)?;
        }
        if !config.name.is_empty() {
            set_name(&config.name);
        }
        let pool = Pool::new(&config.buffers);
        let (driver, level, notice) = driver::open(&config, &pool)?;
        let virtual_now = match &config.backend {
            Backend::Sim(network) => Some(network.now()),
            _ => None,
        };
        let clock = Clock::new(virtual_now);
        let shared = Rc::new_cyclic(|_| {
            let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
            Shared {
                id,
                wheel: RefCell::new(Wheel::new(clock.now().as_nanos() / TICK)),
                clock,
                tasks: Tasks::new(id),
                io: RefCell::new(Io::new(driver, Rc::clone(&pool), &config.buffers)),
                pool,
                rng: Rng::new(seed(&config)),
                pipes: RefCell::new(Vec::new()),
                bells: RefCell::new(Vec::new()),
            }
        });
        current::register(&shared);
        if let Backend::Sim(network) = &config.backend {
            network.watch(&shared);
        }
        let next_trim = shared.clock.now() + TRIM_EVERY;
        Ok(Self { shared, level, notice, fired: Vec::new(), next_trim })
    }

    /// The level in use.
    pub fn backend(&self) -> Level {
        self.level
    }

    /// Why `Auto` did not take io_uring, and how to allow it: one line for the log.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// Runs `future` to its end, and whatever tasks there are meanwhile.
    pub fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        let shared = Rc::clone(&self.shared);
        current::enter(&shared, || {
            let mut future = pin!(future);
            let mut first = true;
            loop {
                if (shared.tasks.take_root_ready() || first)
                    && let Poll::Ready(value) = shared.tasks.poll_root(future.as_mut())
                {
                    self.submit();
                    return value;
                }
                first = false;
                self.round(true);
            }
        })
    }

    /// Exactly one round: ready tasks → flush → submit and wait (when nothing is ready and
    /// `may_block`) → completions → timers.
    pub fn turn(&mut self, may_block: bool) -> Turn {
        let shared = Rc::clone(&self.shared);
        current::enter(&shared, || self.round(may_block))
    }

    /// Makes this runtime current while `f` runs, so that `f` can spawn and open sockets.
    pub fn enter<T>(&mut self, f: impl FnOnce() -> T) -> T {
        current::enter(&self.shared, f)
    }

    /// Tasks that have not finished.
    pub fn task_count(&self) -> usize {
        self.shared.tasks.len()
    }

    /// What is in use, for leak checks and statistics.
    pub fn usage(&self) -> Usage {
        self.shared.usage()
    }

    /// Whether a task waits to be polled: what a round's last steps woke.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.tasks.is_ready()
    }

    /// When the next timer may be due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let tick = self.shared.wheel.borrow().next()?;
        Some(Instant::from_nanos(tick.saturating_mul(TICK)))
    }

    /// Sends what the last polls have queued, though no round follows.
    fn submit(&self) {
        let mut io = self.shared.io.borrow_mut();
        io.flush_dirty();
        let waited = io.wait(Some(Duration::ZERO));
        debug_assert!(waited.is_ok());
    }

    fn round(&mut self, may_block: bool) -> Turn {
        let shared = &self.shared;
        let mut turn = Turn { tasks: shared.tasks.run(), ..Turn::default() };
        shared.bells.borrow_mut().drain(..).for_each(|bells| bells.ring());
        let mut io = shared.io.borrow_mut();
        io.flush_dirty();
        let timeout = if !may_block || shared.tasks.is_ready() {
            Some(Duration::ZERO)
        } else {
            self.longest_wait()
        };
        match io.wait(timeout) {
            Ok(events) => turn.events = events,
            // Only a mistake of ours makes waiting fail; going on at least keeps the timers.
            Err(err) => debug_assert!(false, "waiting for I/O: {err}"),
        }
        let now = shared.clock.update(io.virtual_now());
        drop(io);
        shared.wheel.borrow_mut().advance(now.as_nanos() / TICK, &mut self.fired);
        turn.timers = self.fired.len();
        self.fired.drain(..).for_each(Waker::wake);
        if now >= self.next_trim {
            self.next_trim = now + TRIM_EVERY;
            shared.pool.trim();
        }
        turn
    }

    /// Until the next timer or, when there are buffers to give back, the next look at them.
    fn longest_wait(&self) -> Option<Duration> {
        // The tasks of this turn took time, too: a wait counted from its start would be too long.
        let now = self.shared.clock.precise();
        let timer = self.shared.wheel.borrow().next().map(|tick| until(tick, now));
        // Time is not worth simulating for that.
        let trim = self.level != Level::Sim && self.shared.pool.has_surplus();
        let trim = trim.then(|| self.next_trim.since(now).max(Duration::from_millis(1)));
        timer.into_iter().chain(trim).min()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let shared = Rc::clone(&self.shared);
        current::enter(&shared, || shared.tasks.clear());
        self.shared.io.borrow_mut().shutdown();
        current::unregister(self.shared.id);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("level", &self.level).finish_non_exhaustive()
    }
}

/// What a runtime has in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tasks that have not finished.
    pub tasks: usize,
    /// Timers that were polled and not dropped.
    pub timers: usize,
    /// Stream sockets, those being closed included.
    pub streams: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Datagram sockets, signal and doorbell descriptors.
    pub sources: usize,
    /// Pooled buffers in somebody's hands.
    pub buffers: usize,
}

/// Time from `now` to the start of a tick.
fn until(tick: u64, now: Instant) -> Duration {
    Instant::from_nanos(tick.saturating_mul(TICK)).since(now)
}

fn seed(config: &Config) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    match &config.backend {
        _ if config.seed != 0 => config.seed,
        Backend::Sim(network) => network.seed(),
        // The standard library's hash keys are the system's randomness.
        _ => RandomState::new().hash_one(0_u8),
    }
}

/// Lets other threads go before the calling one: `nice` from 0 (as others) to 19 (when nothing else
/// wants the core). Threads that it starts afterwards are as nice.
pub fn lower_priority(nice: i32) {
    // It may always be lowered; a system that does not know it serves the thread as others.
    let _ = rustix::process::setpriority_process(None, nice);
}

fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).map_err(|errno| {
        let text = format!("pinning to core {cpu}: {errno}; leave `cpu` unset to run unpinned");
        io::Error::new(io::Error::from(errno).kind(), text)
    })
}

fn set_name(name: &str) {
    let short: Vec<u8> = name.bytes().filter(|&byte| byte != 0).take(15).collect();
    if let Ok(text) = std::ffi::CString::new(short) {
        // A name is for tools only: not worth failing for.
        let _ = rustix::thread::set_name(&text);
    }
}
