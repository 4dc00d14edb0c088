//! The application log: Envoy's line format, levels by component, to standard error or a file.
//!
//! Any thread logs without waiting for another: levels are atomics, a line is one `write(2)`, and
//! with `--log-path` every thread appends through a file handle of its own.

pub mod component;
mod format;
mod sink;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub use component::Component;
use component::NAMES;
pub use format::Pattern;
pub use sink::reopen;

/// Envoy's default `--log-format`.
pub const DEFAULT_FORMAT: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
    /// Only as a threshold: nothing is logged.
    Off,
}

impl Level {
    /// All levels, in the order in which usage texts list them.
    pub const ALL: [Self; 7] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Off,
    ];

    /// The name Envoy prints.
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

    /// The one-letter name (`%L`).
    fn letter(self) -> &'static str {
        match self {
            Self::Trace => "T",
            Self::Debug => "D",
            Self::Info => "I",
            Self::Warning => "W",
            Self::Error => "E",
            Self::Critical => "C",
            Self::Off => "O",
        }
    }

    fn from_u8(value: u8) -> Self {
        Self::ALL.get(usize::from(value)).copied().unwrap_or(Self::Off)
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        match name {
            "warn" => Ok(Self::Warning),
            _ => Self::ALL
                .into_iter()
                .find(|level| level.name() == name)
                .ok_or_else(|| UnknownLevel(name.to_owned())),
        }
    }
}

/// A word that names no level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLevel(String);

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "invalid log level '{}': use one of trace, debug, info, warning, error, critical, off",
            self.0
        )
    }
}

impl std::error::Error for UnknownLevel {}

/// Settings of the log, from the command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `--log-level`
    pub level: Level,
    /// `--component-log-level`, such as `upstream:debug,config:trace`.
    pub components: String,
    /// `--log-format`
    pub format: String,
    /// `--log-format-escaped`: a message is one line whatever is in it.
    pub escaped: bool,
    /// `--log-path`; standard error without it.
    pub path: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Level::Info,
            components: String::new(),
            format: DEFAULT_FORMAT.to_owned(),
            escaped: false,
            path: None,
        }
    }
}

static LEVELS: [AtomicU8; NAMES.len()] = [const { AtomicU8::new(Level::Info as u8) }; NAMES.len()];
static ESCAPED: AtomicBool = AtomicBool::new(false);
/// Of the command line, until the bootstrap is read.
static FIRST: OnceLock<Pattern> = OnceLock::new();
static PATTERN: OnceLock<Pattern> = OnceLock::new();

/// Applies the command line's settings. Called once, before other threads start; a second call
/// changes levels only.
///
/// # Errors
/// An unknown component or level, or a log file that cannot be opened.
pub fn init(settings: &Settings) -> Result<(), String> {
    set_all(settings.level);
    for pair in settings.components.split(',').filter(|pair| !pair.is_empty()) {
        let (name, level) = pair.split_once(':').ok_or_else(|| {
            format!(
                "component log level not correctly specified '{pair}': \
                 write <component>:<level>, such as upstream:debug"
            )
        })?;
        let level: Level = level.parse().map_err(|error: UnknownLevel| error.to_string())?;
        if !set(name, level) {
            return Err(format!(
                "component log level names an unknown component '{name}': use one of {}",
                NAMES.join(", ")
            ));
        }
    }
    if let Some(path) = &settings.path {
        sink::use_file(path)
            .map_err(|error| format!("failed to open log file '{}': {error}", path.display()))?;
    }
    ESCAPED.store(settings.escaped, Ordering::Relaxed);
    let _second_call = FIRST.set(Pattern::parse(&settings.format));
    Ok(())
}

/// The format of lines from now on, once the bootstrap has been read. Called once.
pub fn set_format(format: &str) {
    let _second_call = PATTERN.set(Pattern::parse(format));
}

/// Is a line of this level printed?
#[inline]
pub fn enabled(component: Component, level: Level) -> bool {
    LEVELS
        .get(component as usize)
        .is_some_and(|threshold| level as u8 >= threshold.load(Ordering::Relaxed))
}

/// Prints one line, whatever the level; [`log!`](crate::control::log::log) asks first.
pub fn write(
    component: Component,
    level: Level,
    file: &'static str,
    line: u32,
    message: fmt::Arguments<'_>,
) {
    let mut text = message.to_string();
    if ESCAPED.load(Ordering::Relaxed) {
        text = text.escape_default().to_string();
    }
    let record = format::Record {
        name: NAMES.get(component as usize).copied().unwrap_or("misc"),
        level,
        file,
        line,
        message: &text,
    };
    let mut out = String::with_capacity(96 + text.len());
    match PATTERN.get().or_else(|| FIRST.get()) {
        Some(pattern) => pattern.render(&record, &mut out),
        None => Pattern::parse(DEFAULT_FORMAT).render(&record, &mut out),
    }
    out.push('\n');
    sink::write(out.as_bytes());
}

/// Every logger's name and level, in Envoy's order.
pub fn levels() -> impl Iterator<Item = (&'static str, Level)> {
    NAMES
        .into_iter()
        .zip(&LEVELS)
        .map(|(name, level)| (name, Level::from_u8(level.load(Ordering::Relaxed))))
}

/// Sets one logger; `false` where there is none of that name.
pub fn set(name: &str, level: Level) -> bool {
    let slot = NAMES.iter().position(|known| *known == name).and_then(|at| LEVELS.get(at));
    if let Some(slot) = slot {
        slot.store(level as u8, Ordering::Relaxed);
    }
    slot.is_some()
}

/// Is there a logger of that name?
pub fn is_component(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Sets every logger.
pub fn set_all(level: Level) {
    for slot in &LEVELS {
        slot.store(level as u8, Ordering::Relaxed);
    }
}

/// Logs a line: `log!(Info, Main, "loaded {} clusters", n)`. The arguments are not evaluated when
/// the level is off.
macro_rules! log {
    ($level:ident, $component:ident, $($message:tt)+) => {{
        use $crate::control::log::{Component, Level, enabled, write};
        if enabled(Component::$component, Level::$level) {
            write(
                Component::$component,
                Level::$level,
                file!(),
                line!(),
                format_args!($($message)+),
            );
        }
    }};
}
pub(crate) use log;
