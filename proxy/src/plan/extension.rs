//! Options of filters that come by ECDS: a slot for each that is named, filled from outside.
//!
//! LIFECYCLE of a slot: empty (or with its `default_config`) → what came takes its place, again and
//! again → a removal brings the default back. Streams and connections begin with what is there and
//! keep it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::listener::Direction;
use super::listener_filter::FilterKind;
use super::source::ConfigSource;
use crate::filters::Config;

/// Where a filter stands whose options come by ECDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtensionKind {
    /// `HttpConnectionManager.http_filters`.
    Http,
    /// `Listener.listener_filters`.
    Listener,
}

impl ExtensionKind {
    /// The word in the names of statistics: `extension_config_discovery.<this>.<name>.`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http_filter",
            Self::Listener => "tcp_listener_filter",
        }
    }
}

/// The place of the options of a filter, shared by all filters that name the same.
pub struct ExtensionSlot {
    /// Name of the filter, and of the resource.
    pub name: Arc<str>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Where the filter stands.
    pub kind: ExtensionKind,
    /// `type_urls`: types its options may be of, without `type.googleapis.com/`.
    pub types: Vec<Arc<str>>,
    /// Where the filters are that share it.
    pub(crate) scope: SlotScope,
    /// `apply_default_config_without_warming`: nothing waits for the first answer.
    pub starts_with_default: bool,
    /// Content hash of `default_config`; zero is none.
    pub(crate) default_hash: u64,
    default: Option<Arc<Extension>>,
    current: ArcSwapOption<Extension>,
    version: AtomicU64,
}

/// Options of a filter.
#[derive(Debug)]
pub struct Extension(pub(crate) Options);

/// By where it stands.
#[derive(Debug)]
pub(crate) enum Options {
    /// Of an HTTP filter.
    Http(Config),
    /// Of a listener filter.
    Listener(FilterKind),
}

/// What options are compiled by besides themselves. Filters that differ in it share no slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SlotScope {
    /// `http.<stat_prefix>` of the connection manager, empty for listener filters.
    pub http_prefix: String,
    /// `traffic_direction` of the listener, unspecified for listener filters: none asks for it.
    pub direction: Direction,
}

/// What a slot is made of.
#[derive(Debug)]
pub(crate) struct NewSlot {
    pub name: Arc<str>,
    pub source: ConfigSource,
    pub kind: ExtensionKind,
    pub types: Vec<Arc<str>>,
    pub scope: SlotScope,
    pub starts_with_default: bool,
    pub default: Option<(u64, Arc<Extension>)>,
}

impl ExtensionSlot {
    pub(crate) fn new(new: NewSlot) -> Self {
        let NewSlot { name, source, kind, types, scope, starts_with_default, default } = new;
        let (default_hash, default) = match default {
            Some((hash, default)) => (hash, Some(default)),
            None => (0, None),
        };
        Self {
            name,
            source,
            kind,
            types,
            scope,
            starts_with_default,
            default_hash,
            current: ArcSwapOption::new(default.clone()),
            default,
            version: AtomicU64::new(0),
        }
    }

    /// Whether what names it may be used: the options have come, or the default is enough.
    pub fn is_ready(&self) -> bool {
        self.starts_with_default || self.version() > 0
    }

    /// Fills it, or (`None`: the resource was removed) puts the default back.
    pub fn set(&self, extension: Option<Arc<Extension>>) {
        self.current.store(extension.or_else(|| self.default.clone()));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Grows whenever it is filled.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is in it.
    pub fn current(&self) -> Option<Arc<Extension>> {
        self.current.load_full()
    }
}

impl Extension {
    /// Options of a listener filter.
    pub(crate) fn listener(&self) -> Option<&FilterKind> {
        match &self.0 {
            Options::Listener(kind) => Some(kind),
            Options::Http(_) => None,
        }
    }

    /// Options of an HTTP filter.
    pub(crate) fn http(&self) -> Option<&Config> {
        match &self.0 {
            Options::Http(config) => Some(config),
            Options::Listener(_) => None,
        }
    }
}

impl fmt::Debug for ExtensionSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtensionSlot")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
