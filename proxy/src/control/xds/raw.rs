//! Resources as they came, kept for `/config_dump` and to know them again.

use std::sync::Arc;
use std::time::Duration;

use ringway_xds::client::Resource;

use super::kind::Kind;

/// A resource as it came. What it says is decoded by whoever prints it, so that a large
/// configuration is not in memory twice.
#[derive(Debug)]
pub struct Raw {
    /// Its name.
    pub name: Arc<str>,
    /// The version it came with: its own (incremental protocol) or that of its response.
    pub version: Arc<str>,
    /// Hash of `body`.
    pub hash: u64,
    /// The encoded message of its kind.
    pub body: Arc<[u8]>,
    /// When it was taken, as time since 1970.
    pub updated: Duration,
}

/// The last attempt to change a resource, which failed: `UpdateFailureState`.
#[derive(Debug)]
pub struct Refused {
    /// What was not taken.
    pub raw: Arc<Raw>,
    /// Why, for a person.
    pub details: Arc<str>,
}

/// What a resource is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceState {
    /// It is used.
    Active,
    /// It waits for what it needs.
    Warming,
    /// It has no new work; what it had goes on for a while.
    Draining,
}

/// A resource in a dump.
#[derive(Debug, Clone)]
pub struct Dumped {
    /// Its name.
    pub name: Arc<str>,
    /// What it is doing; a listener that has a new version that is still warming is here twice.
    pub state: ResourceState,
    /// As it came; `None` where nothing was taken yet, and only [`Dumped::refused`] is known.
    pub raw: Option<Arc<Raw>>,
    /// The last attempt to change it, if that failed. With the first entry of a name only.
    pub refused: Option<Arc<Refused>>,
}

/// All resources of a kind.
#[derive(Debug, Clone)]
pub struct DumpedKind {
    /// Which.
    pub kind: Kind,
    /// `version_info` of the last response that was taken; empty with the incremental protocol.
    pub version: Arc<str>,
    /// Sorted by name.
    pub resources: Vec<Dumped>,
}

/// What xDS brought, at one moment. Resources of the bootstrap are not in it.
#[derive(Debug, Clone, Default)]
pub struct DumpSnapshot {
    /// By kind; a kind nobody asked for is not there.
    pub kinds: Vec<DumpedKind>,
    /// `/init_dump`: who still waits, and for what.
    pub unready: Vec<Unready>,
}

/// Something that waits before the proxy, or a listener, is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// `init manager Server`
    pub name: String,
    /// `target LDS`
    pub targets: Vec<String>,
}

impl DumpSnapshot {
    /// The resources of a kind, sorted by name.
    pub fn kind(&self, kind: Kind) -> Option<&DumpedKind> {
        self.kinds.iter().find(|dumped| dumped.kind == kind)
    }
}

impl Raw {
    /// A resource that has just come.
    pub(super) fn of(resource: &Resource) -> Arc<Self> {
        Arc::new(Self {
            name: resource.name.clone(),
            version: resource.version.clone(),
            hash: resource.hash,
            body: resource.body.clone(),
            updated: ringway_runtime::unix_now(),
        })
    }
}

impl Refused {
    pub(super) fn new(raw: Arc<Raw>, details: &str) -> Arc<Self> {
        Arc::new(Self { raw, details: details.into() })
    }
}

impl Dumped {
    /// Adds what there is of a name.
    pub(super) fn versions(
        name: &Arc<str>,
        versions: impl Iterator<Item = (Arc<Raw>, ResourceState)>,
        out: &mut Vec<Self>,
    ) {
        for (raw, state) in versions {
            let (name, raw) = (name.clone(), Some(raw));
            out.push(Self { name, state, raw, refused: None });
        }
    }
}
