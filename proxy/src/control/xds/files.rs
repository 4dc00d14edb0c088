//! Resources in files: a `DiscoveryResponse` in YAML, JSON or on the wire, read at once and again
//! whenever another file stands under its name.
//!
//! As in Envoy a file is replaced by renaming, or by moving a link above it; one that is written in
//! place is not read again, so nobody sees a part of it.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use prost::Message;
use ringway_runtime::{precise_now, sleep};
use ringway_xds::api::envoy::service::discovery::v3::{self as api, DiscoveryResponse};
use ringway_xds::client::Resource;
use ringway_xds::{Diagnostic, Document, Format};
use xxhash_rust::xxh64::xxh64;

use super::feeds::{FeedCx, FeedId, News};
use super::kind::Kind;
use crate::config::files::read_file;

/// Between two looks at a file.
const INTERVAL: Duration = Duration::from_millis(100);

/// Share of the thread's time that looking may take: one in so many.
const SHARE: u32 = 200;

/// What a file has that it did not have before.
#[derive(Debug)]
pub(crate) struct FileRead {
    /// `version_info`.
    pub(super) version: Arc<str>,
    /// Resources that are new or other than before.
    pub(super) changed: Vec<Resource>,
    /// Names that are not there any more, of a kind whose file names all there are.
    pub(super) removed: Vec<Arc<str>>,
    /// How many are as they were.
    pub(super) unchanged: usize,
}

/// A file that is looked after.
pub(super) struct FileFeed {
    id: FeedId,
    cx: Rc<FeedCx>,
    kind: Kind,
    path: PathBuf,
    directory: Option<PathBuf>,
    /// Hashes of what was read, by name.
    known: RefCell<HashMap<Arc<str>, u64, RandomState>>,
    /// Something is wanted that was read when nobody wanted it.
    again: Cell<bool>,
}

/// Which file stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stamp {
    file: Option<(u64, u64)>,
    /// Of the directory: what is in it has been moved.
    directory: Option<(u64, u64, i64, i64)>,
}

impl FileFeed {
    pub(super) fn new(
        id: FeedId,
        cx: &Rc<FeedCx>,
        kind: Kind,
        path: &Path,
        directory: Option<&Path>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            cx: cx.clone(),
            kind,
            path: path.to_owned(),
            directory: directory.map(Path::to_owned),
            known: RefCell::default(),
            again: Cell::new(false),
        })
    }

    /// What was taken of these is forgotten: they are handed over again with the next read.
    pub(super) fn forget<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let mut known = self.known.borrow_mut();
        for name in names {
            known.remove(name);
        }
    }

    /// A resource is wanted that may have been read before.
    pub(super) fn want(&self, name: &str) {
        if self.known.borrow_mut().remove(name).is_some() {
            self.again.set(true);
        }
    }

    /// Reads the file now, and whenever it is replaced; never returns.
    pub(super) async fn run(self: Rc<Self>) {
        let mut stamp = self.stamp();
        self.read();
        loop {
            let began = precise_now();
            let found = self.stamp();
            if found != stamp || self.again.take() {
                stamp = found;
                self.read();
            }
            let took = precise_now() - began;
            sleep(INTERVAL.max(took.saturating_mul(SHARE))).await;
        }
    }

    fn stamp(&self) -> Stamp {
        let look = |path: &Path| std::fs::metadata(path).ok();
        let directory = self.directory.as_deref().and_then(look);
        Stamp {
            file: look(&self.path).map(|meta| (meta.dev(), meta.ino())),
            directory: directory.map(|m| (m.dev(), m.ino(), m.mtime(), m.mtime_nsec())),
        }
    }

    fn read(&self) {
        let began = precise_now();
        let read = parse(&self.path, self.kind).map(|all| self.compare(all));
        let used = precise_now() - began;
        self.cx.tell(News::File { feed: self.id, kind: self.kind, read, used });
    }

    fn compare(&self, all: Parsed) -> FileRead {
        let mut known = self.known.borrow_mut();
        let total = all.resources.len();
        let mut changed = Vec::new();
        let mut here: HashSet<Arc<str>, FixedState> = HashSet::default();
        for resource in all.resources {
            here.insert(resource.name.clone());
            if known.insert(resource.name.clone(), resource.hash) != Some(resource.hash) {
                changed.push(resource);
            }
        }
        let gone = |name: &Arc<str>| self.kind.is_whole() && !here.contains(name);
        let removed: Vec<Arc<str>> = known.keys().filter(|name| gone(name)).cloned().collect();
        for name in &removed {
            known.remove(name);
        }
        FileRead { version: all.version, unchanged: total - changed.len(), changed, removed }
    }
}

/// What a file says.
#[derive(Debug)]
struct Parsed {
    version: Arc<str>,
    resources: Vec<Resource>,
}

/// Reads a file.
///
/// # Errors
/// What is wrong with it, for a person.
fn parse(path: &Path, kind: Kind) -> Result<Parsed, String> {
    const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
    let shown = path.display().to_string();
    let bytes = read_file(path)?;
    let bytes = if shown.ends_with(".pb") {
        bytes
    } else {
        let text = String::from_utf8(bytes).map_err(|_| format!("'{shown}' is no text"))?;
        let every = |found: Vec<Diagnostic>| {
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            format!("Unable to parse '{shown}': {}", lines.join("; "))
        };
        let document = Document::parse(&text, &shown, Format::of_file(&shown)).map_err(every)?;
        document.encode(RESPONSE).map_err(every)?.0
    };
    let response = DiscoveryResponse::decode(bytes.as_slice())
        .map_err(|error| format!("'{shown}' is no {RESPONSE}: {error}"))?;
    let version: Arc<str> = response.version_info.into();
    let resources = response.resources.into_iter();
    let resources = resources.map(|any| resource(any, kind, &version)).collect::<Result<_, _>>()?;
    Ok(Parsed { version, resources })
}

fn resource(any: prost_types::Any, kind: Kind, version: &Arc<str>) -> Result<Resource, String> {
    const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
    let unreadable = |error: prost::DecodeError| format!("a resource cannot be read: {error}");
    let (any, name, own) = if any.type_url == WRAPPER {
        let wrapped = api::Resource::decode(any.value.as_slice()).map_err(unreadable)?;
        (wrapped.resource.unwrap_or_default(), wrapped.name, wrapped.version)
    } else {
        (any, String::new(), String::new())
    };
    if Kind::of(&any.type_url) != Some(kind) {
        let expected = kind.type_url();
        return Err(format!("Unexpected type URL {} (expected {expected})", any.type_url));
    }
    let name = if name.is_empty() { name_of(&any.value).map_err(unreadable)? } else { name };
    Ok(Resource {
        name: name.into(),
        version: if own.is_empty() { version.clone() } else { own.into() },
        hash: xxh64(&any.value, 0),
        body: any.value.into(),
        ttl: None,
        aliases: Box::default(),
    })
}

/// Field 1, which is the name in every kind.
fn name_of(body: &[u8]) -> Result<String, prost::DecodeError> {
    #[derive(Clone, PartialEq, Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Named::decode(body).map(|named| named.name)
}

#[cfg(test)]
mod tests;
