//! Starting the threads of a proxy, and ending with them.
//!
//! LIFECYCLE of the process: configuration loaded → sockets of a parent taken over (hot restart) →
//! every other socket bound → threads started → plan
//! sent → all shards have installed it (LIVE) → drain → shutdown → threads joined. What can fail
//! fails before the first thread runs.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_runtime::file::AppendOptions;
use ringway_runtime::mesh::{MeshEnd, mesh};
use ringway_runtime::{Backend, Config, Runtime, lower_priority, signal};

use super::admin::{self, info::Facts, runtime::Layers};
use super::bind::{self, BindError, Sockets};
use super::dump::ConfigDump;
use super::gauges::Names;
use super::log::log;
use super::message::{DrainStrategy, Message};
use super::restart::{self, Inherited, RestartError};
use super::run::{self, Control};
use super::state::Server;
use super::xds::Identity;
use crate::config::compile::{Compiler, Dynamic};
use crate::observe::accesslog::AccessLog;
use crate::observe::stats::{Registry, ShardStats};
use crate::plan::ceiling::Ceiling;
use crate::plan::route::StringMatch;
use crate::plan::{Address, Plan, SocketOption};
use crate::shard::Loads;

/// Signals the control thread handles.
pub(super) const SIGNALS: [i32; 4] =
    [signal::SIGTERM, signal::SIGINT, signal::SIGUSR1, signal::SIGHUP];

/// A proxy that is ready to start.
pub struct Setup {
    /// The first plan.
    pub plan: Plan,
    /// What comes later, and from where.
    pub dynamic: Dynamic,
    /// Compiles what comes later.
    pub compiler: Compiler,
    /// Names and slots of statistics; made with [`writers`] pages.
    pub registry: Registry,
    /// What management servers are told of this process.
    pub(crate) identity: Identity,
    /// Names of the process that were made before the plan's.
    pub names: Names,
    /// For `/config_dump`.
    pub dump: ConfigDump,
    /// For `/server_info`.
    pub facts: Facts,
    /// Runtime layers.
    pub layers: Layers,
    /// State of the process.
    pub server: Arc<Server>,
    /// What the command line and the bootstrap say about threads, admin and drain.
    pub options: Options,
    /// Whether others may restart it, and whom it restarts; `None` with `--disable-hot-restart`.
    pub restart: Option<restart::Settings>,
    /// The main function of a shard.
    pub shard: ShardMain,
}

/// Settings of the process.
#[derive(Debug)]
pub struct Options {
    /// Number of shards, at least 1.
    pub concurrency: usize,
    /// Pin each shard to a core.
    pub pin: bool,
    /// `--io-backend`
    pub backend: Backend,
    /// `--drain-time-s`
    pub drain_time: Duration,
    /// `--drain-strategy`
    pub drain_strategy: DrainStrategy,
    /// `admin.address`
    pub admin: Option<Address>,
    /// `admin.socket_options`
    pub admin_socket_options: Vec<SocketOption>,
    /// `admin.allow_paths`
    pub admin_allow_paths: Vec<StringMatch>,
    /// How many connections may be open, over all listeners.
    pub ceiling: Arc<Ceiling>,
    /// `admin.ignore_global_conn_limit`
    pub admin_ignores_ceiling: bool,
    /// `admin.access_log`
    pub admin_access_logs: Vec<Arc<AccessLog>>,
    /// `--file-flush-interval-msec`, `--file-flush-min-size-kb`
    pub logs: AppendOptions,
    /// `--admin-address-path`: a file that is given the admin address.
    pub admin_address_path: Option<PathBuf>,
    /// `stats_flush_interval`
    pub stats_flush_interval: Duration,
}

/// What a shard is started with, on its own thread.
pub struct ShardStart {
    /// Its number, also in the mesh.
    pub index: usize,
    /// How many there are; the control thread is this number in the mesh.
    pub shards: usize,
    /// Settings of its runtime: backend, core, name.
    pub runtime: Config,
    /// Its end of the mesh.
    pub mesh: MeshEnd<Message>,
    /// Its page of statistics.
    pub stats: ShardStats,
    /// The loads of all shards.
    pub loads: Arc<Loads>,
}

/// The main function of a shard: returns after [`Message::Shutdown`], or an error when it cannot
/// run at all.
pub type ShardMain = Arc<dyn Fn(ShardStart) -> io::Result<()> + Send + Sync>;

/// Why a proxy did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener has no address.
    Bind(BindError),
    /// It cannot take part in hot restarts.
    Restart(RestartError),
    /// The system refused something else.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Restart(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

/// Pages of statistics a proxy with this many shards writes: theirs, the control thread's and the
/// admin thread's.
pub fn writers(shards: usize) -> usize {
    shards + 2
}

/// How far the control and the admin thread stand behind the shards (`nice(2)`) where they share a
/// core: a new configuration or a page of statistics must not hold up a request. Each still gets
/// about a quarter of a core that one shard keeps busy.
const BEHIND_TRAFFIC: i32 = 5;

/// Runs a proxy until it is told to end. The calling thread becomes the control thread.
///
/// # Errors
/// A socket or thread that cannot be had; nothing runs then.
pub fn run(mut setup: Setup) -> Result<(), StartError> {
    let system = |what| move |error| StartError::System(what, error);
    signal::block(&SIGNALS).map_err(system("cannot block signals"))?;
    signal::ignore(signal::SIGPIPE).map_err(system("cannot ignore SIGPIPE"))?;
    let config = Config { backend: Backend::Epoll, ..Config::default() };
    let mut runtime = Runtime::new(config).map_err(system("cannot start the control thread"))?;
    let shards = setup.options.concurrency.max(1);
    let begun = setup.restart.take().map(restart::begin);
    let begun = begun.map(|begin| runtime.block_on(begin)).transpose();
    let (begun, mut inherited) = begun.map_err(StartError::Restart)?.unzip();
    let inherited = inherited.get_or_insert_default();
    let (sockets, admin_socket) = runtime.enter(|| bind_everything(&setup, shards, inherited))?;
    if let Some(begun) = &begun {
        runtime.block_on(begun.take_admin());
        begun.started().inspect(|started| setup.server.continues(*started));
    }
    let inherited = std::mem::take(inherited);
    let mut ends = mesh(shards + 2).map_err(system("cannot connect the threads"))?;
    let (Some(admin_end), Some(control_end)) = (ends.pop(), ends.pop()) else { return Ok(()) };
    let stats = setup.registry.writer(shards).unwrap_or_else(ShardStats::detached);
    let mut threads = Vec::with_capacity(shards + 1);
    let loads = Loads::new(shards);
    for end in ends {
        threads.push(start_shard(&mut setup, &loads, shards, end)?);
    }
    let bound = sockets.bound.clone();
    let has_layers = !setup.dynamic.layers.is_empty() || setup.layers.has_admin();
    let bootstrap = has_layers.then(|| setup.dump.bootstrap.clone());
    threads.push(start_admin(&mut setup, admin_end, admin_socket, bound.into())?);
    lower_priority(BEHIND_TRAFFIC);
    runtime.block_on(async move {
        let post = control_end.attach().map_err(system("cannot attach the control thread"))?;
        let restart = (inherited, loads, begun);
        let control = Control::new(setup, post, Rc::new(stats), sockets, bootstrap, restart);
        run::main(control, threads).await;
        Ok(())
    })
}

/// Binds all listeners and the admin address.
fn bind_everything(
    setup: &Setup,
    shards: usize,
    inherited: &mut Inherited,
) -> Result<(Sockets, Option<OwnedFd>), StartError> {
    let options = &setup.options;
    let Some(address) = &options.admin else {
        return Ok((bind::bind_all(&setup.plan, shards, inherited)?, None));
    };
    let options_of_socket = &options.admin_socket_options;
    let (listener, actual) = bind::bind_one("admin", address, options_of_socket, inherited)?;
    log!(Info, Admin, "admin address: {actual}");
    if let Some(path) = &options.admin_address_path
        && let Err(error) = std::fs::write(path, actual.to_string())
    {
        log!(Critical, Admin, "cannot open admin address output file {}: {error}", path.display());
    }
    let socket = listener
        .dup_fd()
        .map_err(|error| StartError::System("cannot keep the admin socket", error))?;
    Ok((bind::bind_all(&setup.plan, shards, inherited)?, Some(socket)))
}

/// A thread that ends the process when it fails: a proxy with fewer shards than asked for, or
/// without its admin interface, is not what was configured.
fn start(
    name: String,
    main: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let thread = name.clone();
    let main = move || {
        if let Err(error) = main() {
            log!(Critical, Main, "thread {thread} cannot run: {error}");
            std::process::exit(1);
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(main)
        .map_err(|error| StartError::System("cannot start a thread", error))
}

fn start_shard(
    setup: &mut Setup,
    loads: &Arc<Loads>,
    shards: usize,
    mesh: MeshEnd<Message>,
) -> Result<JoinHandle<()>, StartError> {
    let index = mesh.index();
    let name = format!("wrk:worker_{index}");
    let options = &setup.options;
    let start_with = ShardStart {
        index,
        shards,
        runtime: Config {
            backend: options.backend.clone(),
            cpu: options.pin.then_some(index),
            name: name.clone(),
            ..Config::default()
        },
        mesh,
        stats: setup.registry.writer(index).unwrap_or_else(ShardStats::detached),
        loads: Arc::clone(loads),
    };
    let main = setup.shard.clone();
    start(name, move || main(start_with))
}

fn start_admin(
    setup: &mut Setup,
    mesh: MeshEnd<Message>,
    socket: Option<OwnedFd>,
    bound: Arc<[bind::Bound]>,
) -> Result<JoinHandle<()>, StartError> {
    let page = setup.registry.writer(mesh.index()).unwrap_or_else(ShardStats::detached);
    let names = admin::counters::Names::new(&mut setup.registry);
    let parts = admin::Parts {
        counters: admin::counters::Counters::new(names, page),
        server: setup.server.clone(),
        facts: Arc::new(std::mem::take(&mut setup.facts)),
        dump: Arc::new(std::mem::take(&mut setup.dump)),
        bound,
        merger: setup.registry.merger(),
        access_logs: std::mem::take(&mut setup.options.admin_access_logs),
        log_options: setup.options.logs,
        allow_paths: std::mem::take(&mut setup.options.admin_allow_paths),
        ceiling: Arc::clone(&setup.options.ceiling),
        ignores_ceiling: setup.options.admin_ignores_ceiling,
        runtime: std::mem::take(&mut setup.layers),
        plan: setup.plan.clone(),
    };
    let start_with = admin::thread::Start {
        control: mesh.index() - 1,
        mesh,
        socket,
        parts,
        flush_interval: setup.options.stats_flush_interval,
    };
    start("admin".to_owned(), move || {
        lower_priority(BEHIND_TRAFFIC);
        admin::thread::run(start_with)
    })
}
