//! Resources in files: a `DiscoveryResponse` in YAML, JSON or on the wire, read at once and again
//! whenever another file stands under its name.
//!
//! As in Envoy a file is replaced by renaming, or by moving a link above it; one that is written in
//! place is not read again, so nobody sees a part of it.
//!
//! LIFECYCLE: reading → told of (the control loop works on it) or unreadable → looking whether
//! there is another file, or something is wanted that was not when this one was read → reading.

use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use prost::Message;
use ringway_runtime::{precise_now, sleep};
use ringway_xds::api::envoy::service::discovery::v3::DiscoveryResponse;
use ringway_xds::client::{Mux, Update};
use ringway_xds::{Diagnostic, Document, Format};

use super::feeds::{FeedCx, FeedId, News};
use super::grpc::clock;
use super::kind::Kind;
use crate::config::files::read_file;

/// Between two looks at a file.
const INTERVAL: Duration = Duration::from_millis(100);

/// Share of the thread's time that looking may take: one in so many.
const SHARE: u32 = 200;

/// Why nothing was read, for a person.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// There is no file, or it is no response.
    Failed(String),
    /// It is a response of something else.
    Rejected(String),
}

/// A file that is looked after.
pub(super) struct FileFeed {
    id: FeedId,
    cx: Rc<FeedCx>,
    kind: Kind,
    path: PathBuf,
    directory: Option<PathBuf>,
    pub(super) mux: RefCell<Mux>,
    /// What is wanted has changed since it was read.
    again: Cell<bool>,
    /// What was read is being worked on.
    busy: Cell<bool>,
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
        (path, directory): (&Path, Option<&Path>),
        mux: Mux,
    ) -> Rc<Self> {
        Rc::new(Self {
            id,
            cx: cx.clone(),
            kind,
            path: path.to_owned(),
            directory: directory.map(Path::to_owned),
            mux: RefCell::new(mux),
            again: Cell::new(false),
            busy: Cell::new(false),
        })
    }

    /// What is wanted has changed.
    pub(super) fn wake(&self) {
        self.again.set(true);
    }

    /// What was read is done with.
    pub(super) fn done(&self) {
        self.busy.set(false);
    }

    /// Reads the file now, and whenever it is replaced; never returns.
    pub(super) async fn run(self: Rc<Self>) {
        let mut stamp = self.stamp();
        self.read();
        loop {
            let began = precise_now();
            let found = self.stamp();
            if !self.busy.get() && (found != stamp || self.again.get()) {
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
        self.again.set(false);
        let began = precise_now();
        match response(&self.path, self.kind).and_then(|bytes| self.compare(&bytes)) {
            Ok(update) => {
                self.busy.set(true);
                let (update, used) = (Box::new(update), precise_now() - began);
                self.cx.tell(News::Update { feed: self.id, update, used });
            }
            Err(why) => self.cx.tell(News::Unread(self.id, self.kind, why)),
        }
    }

    /// A file is as the first response of a stream, to whatever is wanted by now.
    fn compare(&self, response: &[u8]) -> Result<Update, Unread> {
        let mut mux = self.mux.borrow_mut();
        mux.connected();
        mux.received(response, clock()).map_err(|malformed| Unread::Failed(malformed.to_string()))
    }
}

/// What the file has, as a response on the wire. Fields that are not known are left out, as in
/// Envoy: whoever wrote it may be newer.
fn response(path: &Path, kind: Kind) -> Result<Vec<u8>, Unread> {
    const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
    let shown = path.display().to_string();
    let mut bytes = read_file(path).map_err(Unread::Failed)?;
    if !shown.ends_with(".pb") {
        let text = String::from_utf8(bytes)
            .map_err(|_| Unread::Failed(format!("'{shown}' is no text")))?;
        let every = |found: Vec<Diagnostic>| {
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            Unread::Failed(format!("Unable to parse '{shown}': {}", lines.join("; ")))
        };
        let document = Document::parse(&text, &shown, Format::of_file(&shown)).map_err(every)?;
        let (encoded, mut problems) = document.encode_unchecked(RESPONSE);
        problems.retain(|problem| !problem.message.contains(" has no field `"));
        if !problems.is_empty() {
            return Err(every(problems));
        }
        bytes = encoded;
    }
    let is_none = |error| Unread::Failed(format!("'{shown}' is no {RESPONSE}: {error}"));
    let decoded = DiscoveryResponse::decode(bytes.as_slice()).map_err(is_none)?;
    let others = decoded.resources.iter().filter(|any| any.type_url != WRAPPER);
    if let Some(other) = others.map(|any| &any.type_url).find(|url| Kind::of(url) != Some(kind)) {
        let expected = kind.type_url();
        return Err(Unread::Rejected(format!("Unexpected type URL {other} (expected {expected})")));
    }
    let typed = DiscoveryResponse { type_url: kind.type_url().to_owned(), ..Default::default() };
    bytes.extend(typed.encode_to_vec());
    Ok(bytes)
}

/// What may stand around a resource.
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

#[cfg(test)]
mod tests;
