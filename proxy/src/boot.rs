//! From the command line to a running proxy.

mod facts;

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use ringway_runtime::file::AppendOptions;
use ringway_runtime::{Backend, Runtime, available_concurrency};

use crate::cli::{DrainStrategy, IoBackend, IpVersion, Mode, Options};
use crate::config::{self, Loaded, Node};
use crate::control::clock;
use crate::control::dump::ConfigDump;
use crate::control::gauges::Names;
use crate::control::log::{self, Settings, log};
use crate::control::message;
use crate::control::restart;
use crate::control::start::{self, Setup, ShardMain, ShardStart};
use crate::control::state::Server;
use crate::control::xds::Identity;
use crate::observe::stats::Registry;
use crate::shard;

/// Runs the program and answers its exit code: 0 for what went well, 1 for what did not.
pub fn run(options: &Options) -> ExitCode {
    if options.version {
        println!("\nringway  version: {}\n", crate::control::admin::info::version());
        return ExitCode::SUCCESS;
    }
    if options.hot_restart_version {
        let disabled = options.restart.disable_hot_restart;
        println!("{}", if disabled { "disabled".to_owned() } else { restart::version() });
        return ExitCode::SUCCESS;
    }
    if options.mode == Mode::Validate {
        return ExitCode::from(config::validate(options, &mut io::stdout(), &mut io::stderr()));
    }
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Standard error may be closed; the exit code still tells.
            let _unread = writeln!(io::stderr(), "{}", problem.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> Result<(), String> {
    let server = Arc::new(Server::starting());
    log::init(&log_settings(options)?)?;
    die_with_a_panicking_thread();
    raise_descriptor_limit();
    let shards = concurrency(options);
    log!(Info, Main, "ringway {}", crate::control::admin::info::version());
    let mut registry = Registry::new(start::writers(shards));
    let names = Names::new(&mut registry, shards);
    // Reading a file takes many times the memory of what comes out of it.
    let frugal = ringway_runtime::memory::frugal();
    let loaded = config::load(options, shards, &mut registry).map_err(|found| {
        let count = found.errors();
        let errors = if count == 1 { "error" } else { "errors" };
        let name = options.config_name();
        format!("{found}error initializing configuration '{name}': {count} {errors}")
    })?;
    log::set_format(loaded.log_format.as_deref().unwrap_or(&options.log_format));
    for warning in &loaded.warnings.0 {
        log!(Warning, Config, "{warning}");
    }
    let (clusters, listeners) = (loaded.plan.clusters.len(), loaded.plan.listeners.len());
    log!(Info, Config, "loaded {clusters} cluster(s), {listeners} listener(s)");
    let mut setup = setup(options, loaded, (registry, names), server, shards);
    setup.restart = restart_settings(options)?;
    drop(frugal);
    if options.mode == Mode::InitOnly {
        return Ok(());
    }
    start::run(setup).map_err(|error| {
        log!(Critical, Main, "{error}");
        error.to_string()
    })
}

fn setup(
    options: &Options,
    loaded: Loaded,
    (registry, names): (Registry, Names),
    server: Arc<Server>,
    shards: usize,
) -> Setup {
    let Loaded {
        bootstrap,
        plan,
        admin,
        node,
        stats_flush_interval,
        dynamic,
        compiler,
        log_format: _,
        warnings: _,
    } = loaded;
    let whole = facts::node(&bootstrap, &node);
    let node_message: Arc<[u8]> = whole.encode_to_vec().into();
    let facts = facts::facts(options, shards, whole.clone());
    let layers = facts::layers(&bootstrap);
    let admin = admin.unwrap_or_default();
    let logs = AppendOptions {
        flush_bytes: options.file_flush_min_size_kb as usize * 1024,
        flush_interval: Duration::from_millis(options.file_flush_interval_msec.into()),
        ..AppendOptions::default()
    };
    Setup {
        plan,
        dynamic,
        compiler,
        registry,
        identity: Identity { node: whole.encode_to_vec().into(), context_params: Vec::new() },
        names,
        dump: ConfigDump { bootstrap, node: whole, loaded: clock::unix_now() },
        facts,
        layers,
        server,
        options: start::Options {
            concurrency: shards,
            pin: pins(shards),
            backend: backend(options.io_backend),
            drain_time: Duration::from_secs(options.drain_time_s.into()),
            drain_strategy: drain_strategy(options),
            admin: admin.address,
            admin_socket_options: admin.socket_options,
            admin_allow_paths: admin.allow_paths,
            admin_access_logs: admin.access_logs,
            ceiling: admin.ceiling,
            admin_ignores_ceiling: admin.ignores_ceiling,
            logs,
            admin_address_path: options.admin_address_path(),
            stats_flush_interval,
        },
        restart: None,
        shard: shard_main(options, (node, node_message), logs),
    }
}

fn restart_settings(options: &Options) -> Result<Option<restart::Settings>, String> {
    let flags = &options.restart;
    if flags.disable_hot_restart {
        return Ok(None);
    }
    if flags.use_dynamic_base_id && flags.restart_epoch > 0 {
        return Err(format!(
            "--use-dynamic-base-id chooses an id nobody has: with --restart-epoch {} give the \
             --base-id that the process of epoch 0 wrote to its --base-id-path",
            flags.restart_epoch
        ));
    }
    let socket_mode = u32::from_str_radix(&flags.socket_mode, 8);
    let Some(socket_mode) = socket_mode.ok().filter(|mode| *mode <= 0o777) else {
        let mode = &flags.socket_mode;
        return Err(format!("--socket-mode {mode}: not octal permission bits, such as 600"));
    };
    Ok(Some(restart::Settings {
        epoch: flags.restart_epoch,
        base: (!flags.use_dynamic_base_id).then_some(flags.base_id),
        socket_path: flags.socket_path.clone(),
        socket_mode,
        base_id_path: (!flags.base_id_path.is_empty()).then(|| (&flags.base_id_path).into()),
        parent_shutdown_time: Duration::from_secs(flags.parent_shutdown_time_s.into()),
        needs_parent: !flags.skip_hot_restart_on_no_parent,
        merges_stats: !flags.skip_hot_restart_parent_stats,
    }))
}

fn log_settings(options: &Options) -> Result<Settings, String> {
    let level = options.log_level.name();
    Ok(Settings {
        level: level.parse().map_err(|error: log::UnknownLevel| error.to_string())?,
        components: options.component_log_level.clone(),
        format: options.log_format.clone(),
        escaped: options.log_format_escaped,
        path: (!options.log_path.is_empty()).then(|| options.log_path.clone().into()),
    })
}

/// What a shard does on its thread.
fn shard_main(
    options: &Options,
    (node, node_message): (Node, Arc<[u8]>),
    logs: AppendOptions,
) -> ShardMain {
    let address = own_address(options.local_address_ip_version);
    let drain = shard::DrainOptions {
        strategy: drain_strategy(options),
        time: Duration::from_secs(options.drain_time_s.into()),
    };
    Arc::new(move |start: ShardStart| {
        let mut runtime = Runtime::new(start.runtime)?;
        if start.index == 0 {
            if let Some(notice) = runtime.notice() {
                log!(Warning, Main, "{notice}");
            }
            log!(Info, Main, "I/O level: {}", runtime.backend());
        }
        runtime.block_on(shard::run(shard::Setup {
            index: start.index,
            shards: start.shards,
            mesh: start.mesh,
            stats: start.stats,
            loads: start.loads,
            address,
            cluster: node.cluster.clone(),
            node: node.id.clone(),
            node_message: Arc::clone(&node_message),
            zone: node.zone.clone(),
            drain,
            logs,
        }))
    })
}

fn drain_strategy(options: &Options) -> message::DrainStrategy {
    match options.drain_strategy {
        DrainStrategy::Gradual => message::DrainStrategy::Gradual,
        DrainStrategy::Immediate => message::DrainStrategy::Immediate,
    }
}

fn own_address(version: IpVersion) -> IpAddr {
    crate::http::vet::own_address(match version {
        IpVersion::V4 => 4,
        IpVersion::V6 => 6,
    })
}

fn backend(flag: IoBackend) -> Backend {
    match flag {
        IoBackend::Auto => Backend::Auto,
        IoBackend::Uring => Backend::Uring,
        IoBackend::Uring511 => Backend::Uring511,
        IoBackend::Epoll => Backend::Epoll,
    }
}

fn concurrency(options: &Options) -> usize {
    match options.concurrency {
        // Envoy, too, runs one worker when told to run none.
        Some(given) => usize::try_from(given).unwrap_or(usize::MAX).max(1),
        None => available_concurrency().threads,
    }
}

/// Pinning helps only where every shard has a core of its own.
fn pins(shards: usize) -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| shards <= cores.get())
}

/// A shard that panicked has left connections in a state nobody knows: end the process, and say
/// where it happened, rather than serve half of the traffic.
fn die_with_a_panicking_thread() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let backtrace = std::backtrace::Backtrace::force_capture();
        log!(Critical, Backtrace, "thread {name} panicked, the process ends: {info}\n{backtrace}");
        std::process::abort();
    }));
}

/// Raises the soft limit of descriptors to the hard one: every connection is one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            log!(Warning, Main, "cannot raise the limit of open files: {error}");
        }
    }
}
