//! The command line: Envoy's, flag for flag, and ours.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use ringway_xds::api::envoy::admin::v3::{CommandLineOptions, command_line_options};

/// A service proxy that takes Envoy's configuration and command line.
///
/// Flags without effect are accepted, so that whatever starts Envoy starts this as well; their help
/// says that they have none.
#[derive(Debug, Clone, Parser)]
#[command(name = "ringway", disable_version_flag = true, max_term_width = 100)]
#[command(next_line_help = true)]
pub struct Options {
    /// Path to the configuration file: YAML by its ending, else JSON
    #[arg(short = 'c', long, value_name = "string", default_value = "", hide_default_value = true)]
    pub config_path: String,

    /// Inline YAML configuration, merges with the contents of --config-path
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub config_yaml: String,

    /// 'serve' validates the configuration and then serves traffic, 'validate' exits afterwards
    /// with 0 or 1, 'init_only' starts up and exits before serving
    #[arg(long, value_name = "string", default_value = "serve")]
    pub mode: Mode,

    /// How --mode validate tells what it found
    #[arg(long, value_name = "string", default_value = "text")]
    pub validate_output: ValidateOutput,

    /// Number of worker threads; default: the cores this process may use, cgroup quota included
    #[arg(long, value_name = "uint32_t")]
    pub concurrency: Option<u32>,

    /// How workers talk to the kernel; 'auto' takes what measures cheapest on this kernel
    #[arg(long, value_name = "string", default_value = "auto")]
    pub io_backend: IoBackend,

    /// Log level
    #[arg(short = 'l', long, value_name = "string", default_value = "info")]
    pub log_level: LogLevel,

    /// Comma-separated list of component log levels, such as upstream:debug,config:trace
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub component_log_level: String,

    /// Log message format in spdlog syntax
    #[arg(long, value_name = "string", default_value = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v")]
    pub log_format: String,

    /// Escape c-style escape sequences in the application logs
    #[arg(long)]
    pub log_format_escaped: bool,

    /// Path to the log file; default: standard error
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub log_path: String,

    /// Node name, over the bootstrap's node.id
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub service_node: String,

    /// Cluster name, over the bootstrap's node.cluster
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub service_cluster: String,

    /// Zone name, over the bootstrap's node.locality.zone
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub service_zone: String,

    /// Path of a file that is given the admin address
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub admin_address_path: String,

    /// Drain time in seconds, when listeners are drained and at the end
    #[arg(long, value_name = "uint32_t", default_value_t = 600)]
    pub drain_time_s: u32,

    /// Whether connections are drained over the drain time or at once
    #[arg(long, value_name = "string", default_value = "gradual")]
    pub drain_strategy: DrainStrategy,

    /// The local IP address version
    #[arg(long, value_name = "string", default_value = "v4")]
    pub local_address_ip_version: IpVersion,

    /// Interval for flushing access logs, in ms
    #[arg(long, value_name = "uint32_t", default_value_t = 10_000)]
    pub file_flush_interval_msec: u32,

    /// Minimum size in KB for flushing access logs
    #[arg(long, value_name = "uint32_t", default_value_t = 64)]
    pub file_flush_min_size_kb: u32,

    /// Skip the warnings about deprecated fields
    #[arg(long)]
    pub skip_deprecated_logs: bool,

    /// Displays version information and exits
    #[arg(long)]
    pub version: bool,

    /// Displays the hot restart compatibility version and exits
    #[arg(long)]
    pub hot_restart_version: bool,

    /// Reject unknown fields of dynamic configuration
    #[arg(long)]
    pub reject_unknown_dynamic_fields: bool,

    /// Flags of hot restart.
    #[command(flatten)]
    pub restart: HotRestart,

    /// Flags without effect.
    #[command(flatten)]
    pub inert: Inert,

    /// Ignored, as everything after `--`
    #[arg(last = true, hide = true)]
    pub rest: Vec<String>,
}

/// Flags of hot restart: a new process takes the place of one that runs.
#[derive(Debug, Clone, Parser)]
#[command(next_help_heading = "Hot restart")]
pub struct HotRestart {
    /// Tells apart proxies on one machine that do not restart one another
    #[arg(long, value_name = "uint32_t", default_value_t = 0)]
    pub base_id: u32,

    /// Chooses a base id that nobody has; only with --restart-epoch 0
    #[arg(long)]
    pub use_dynamic_base_id: bool,

    /// Path of a file that is given the base id
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub base_id_path: String,

    /// 0 for the first process, one more for each that takes over from the one before
    #[arg(long, value_name = "uint32_t", default_value_t = 0)]
    pub restart_epoch: u32,

    /// Time in seconds after which the process that was taken over from ends
    #[arg(long, value_name = "uint32_t", default_value_t = 900)]
    pub parent_shutdown_time_s: u32,

    /// Neither takes over from another process nor lets one take over
    #[arg(long)]
    pub disable_hot_restart: bool,

    /// With a --restart-epoch above 0 and nobody to take over from, starts all the same
    #[arg(long)]
    pub skip_hot_restart_on_no_parent: bool,

    /// Begins all statistics at 0 instead of adding those of the process before
    #[arg(long)]
    pub skip_hot_restart_parent_stats: bool,

    /// Where processes meet: a path, or an abstract name after '@'; base id and epoch are added
    #[arg(long, value_name = "string", default_value = "@envoy_domain_socket")]
    pub socket_path: String,

    /// Permission bits of that socket, if it is a path
    #[arg(long, value_name = "string", default_value = "600")]
    pub socket_mode: String,
}

/// Flags that are accepted and checked, and change nothing.
#[derive(Debug, Clone, Parser)]
#[command(next_help_heading = "Accepted, without effect")]
pub struct Inert {
    /// Unknown static fields are always rejected
    #[arg(long, visible_alias = "allow-unknown-fields")]
    pub allow_unknown_static_fields: bool,

    /// Unknown fields of dynamic configuration are let pass without a word
    #[arg(long)]
    pub ignore_unknown_dynamic_fields: bool,

    /// Workers are always counted by what this process may use
    #[arg(long)]
    pub cpuset_threads: bool,

    /// There are no locks to trace
    #[arg(long)]
    pub enable_mutex_tracing: bool,

    /// Every component has its own log level
    #[arg(long)]
    pub enable_fine_grain_logging: bool,

    /// There are no stack traces in the log
    #[arg(long)]
    pub log_stacktrace_single_entry: bool,

    /// Ask the system (ulimit, core_pattern)
    #[arg(long)]
    pub enable_core_dump: bool,

    /// Extensions are used where the configuration names them only
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub disable_extensions: String,

    /// Tags for all statistics, as tag:value; there are only the default tags yet
    #[arg(long, value_name = "string")]
    pub stats_tag: Vec<String>,
}

/// `--mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Mode {
    /// Validate, then serve.
    Serve,
    /// Validate, then exit.
    Validate,
    /// Start up, then exit.
    InitOnly,
}

/// `--validate-output`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ValidateOutput {
    /// For people: the line, the place, what is allowed.
    Text,
    /// For programs.
    Json,
}

/// `--io-backend`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IoBackend {
    /// By kernel.
    Auto,
    /// io_uring with all of Linux 6.1.
    Uring,
    /// io_uring with what Linux 5.11 has.
    #[value(name = "uring-5.11")]
    Uring511,
    /// epoll.
    Epoll,
}

/// `--log-level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    Error,
    Critical,
    Off,
}

/// `--drain-strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DrainStrategy {
    /// More and more over the drain time.
    Gradual,
    /// All at once.
    Immediate,
}

/// `--local-address-ip-version`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Options {
    /// Parses the command line of this process. Help, or what is wrong with it, is printed, and the
    /// process ends: 0 for help, 1 for errors, as Envoy does.
    pub fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            // Nobody is left to tell if standard error is closed.
            let _ = error.print();
            std::process::exit(i32::from(error.use_stderr()))
        })
    }

    /// Options as if nothing were said but `arguments`.
    ///
    /// # Errors
    /// An unknown flag, a missing or wrong value.
    pub fn from_arguments<'a>(
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, clap::Error> {
        let all = std::iter::once("ringway").chain(arguments);
        Self::from_arg_matches(&Self::command().try_get_matches_from(all)?)
    }

    /// What is validated, for messages.
    pub fn config_name(&self) -> &str {
        &self.config_path
    }

    /// `--admin-address-path`, if given.
    pub fn admin_address_path(&self) -> Option<PathBuf> {
        (!self.admin_address_path.is_empty()).then(|| PathBuf::from(&self.admin_address_path))
    }

    /// The options as `/server_info` shows them.
    pub fn message(&self, concurrency: u32) -> CommandLineOptions {
        use command_line_options as message;
        let (inert, restart) = (&self.inert, &self.restart);
        let seconds = |seconds: u32| prost_types::Duration { seconds: seconds.into(), nanos: 0 };
        let flush = self.file_flush_interval_msec;
        CommandLineOptions {
            base_id: restart.base_id.into(),
            use_dynamic_base_id: restart.use_dynamic_base_id,
            skip_hot_restart_on_no_parent: restart.skip_hot_restart_on_no_parent,
            skip_hot_restart_parent_stats: restart.skip_hot_restart_parent_stats,
            base_id_path: restart.base_id_path.clone(),
            concurrency,
            config_path: self.config_path.clone(),
            config_yaml: self.config_yaml.clone(),
            allow_unknown_static_fields: inert.allow_unknown_static_fields,
            reject_unknown_dynamic_fields: self.reject_unknown_dynamic_fields,
            ignore_unknown_dynamic_fields: inert.ignore_unknown_dynamic_fields,
            skip_deprecated_logs: self.skip_deprecated_logs,
            admin_address_path: self.admin_address_path.clone(),
            local_address_ip_version: match self.local_address_ip_version {
                IpVersion::V4 => message::IpVersion::V4 as i32,
                IpVersion::V6 => message::IpVersion::V6 as i32,
            },
            log_level: self.log_level.name().to_owned(),
            component_log_level: self.component_log_level.clone(),
            log_format: self.log_format.clone(),
            log_format_escaped: self.log_format_escaped,
            log_path: self.log_path.clone(),
            service_cluster: self.service_cluster.clone(),
            service_node: self.service_node.clone(),
            service_zone: self.service_zone.clone(),
            file_flush_interval: Some(prost_types::Duration {
                seconds: (flush / 1000).into(),
                nanos: (flush % 1000 * 1_000_000).cast_signed(),
            }),
            file_flush_min_size: self.file_flush_min_size_kb,
            drain_time: Some(seconds(self.drain_time_s)),
            drain_strategy: match self.drain_strategy {
                DrainStrategy::Gradual => message::DrainStrategy::Gradual as i32,
                DrainStrategy::Immediate => message::DrainStrategy::Immediate as i32,
            },
            parent_shutdown_time: Some(seconds(restart.parent_shutdown_time_s)),
            mode: match self.mode {
                Mode::Serve => message::Mode::Serve as i32,
                Mode::Validate => message::Mode::Validate as i32,
                Mode::InitOnly => message::Mode::InitOnly as i32,
            },
            disable_hot_restart: restart.disable_hot_restart,
            enable_mutex_tracing: inert.enable_mutex_tracing,
            restart_epoch: restart.restart_epoch,
            cpuset_threads: inert.cpuset_threads,
            disabled_extensions: inert
                .disable_extensions
                .split_terminator(',')
                .map(Into::into)
                .collect(),
            enable_fine_grain_logging: inert.enable_fine_grain_logging,
            log_stacktrace_single_entry: inert.log_stacktrace_single_entry,
            socket_path: restart.socket_path.clone(),
            socket_mode: u32::from_str_radix(&restart.socket_mode, 8).unwrap_or_default(),
            enable_core_dump: inert.enable_core_dump,
            stats_tag: inert.stats_tag.clone(),
        }
    }
}

impl LogLevel {
    /// Envoy's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Off => "off",
        }
    }
}
