//! The client's side of xDS on one stream: bytes in, bytes and comparisons out.
//!
//! A [`Mux`] does no I/O and has no clock: `now` is any time that does not go back. It knows what
//! is subscribed to and, by hash, what was accepted; bodies are with whoever took them.
//!
//! ```
//! use std::time::Duration;
//! use prost::Message;
//! use ringway_xds::api::envoy::service::discovery::v3::DiscoveryRequest;
//! use ringway_xds::client::{Limits, Mux, Options, Protocol};
//! use ringway_xds::types;
//!
//! let mut mux = Mux::new(Options {
//!     protocol: Protocol::Sotw,
//!     node: [].into(),
//!     node_on_first_only: true,
//!     context_params: Vec::new(),
//!     watch_all: false,
//!     limits: Limits::default(),
//! });
//! mux.subscribe_all(types::CLUSTER).unwrap();
//! assert_eq!(mux.poll_request(), None, "no stream yet");
//! mux.connected();
//! let request = DiscoveryRequest::decode(&*mux.poll_request().unwrap()).unwrap();
//! assert_eq!((request.type_url.as_str(), request.resource_names.len()), (types::CLUSTER, 0));
//! # let _ = Duration::ZERO;
//! ```
//!
//! # LIFECYCLE
//!
//! Of the stream: `disconnected` (nothing is sent; subscriptions change freely) → `connected` →
//! for each type that is wanted one first request, in the order of first subscription, which says
//! all names, and what was accepted on the streams before (version, or
//! `initial_resource_versions`) → answers and changed subscriptions, answers first, each request
//! with all that has changed since the one before → `disconnected`.
//!
//! Of a resource: wanted (by name or wildcard) → delivered in [`Update::changed`] → accepted or
//! rejected by [`Mux::answer`]. An accepted one is delivered again only when its content differs;
//! a rejected one whenever it comes. It is forgotten when removed, absent (full-state types),
//! expired or no longer wanted.
//!
//! Rules: the xDS protocol document and, where it leaves a choice, what Envoy does.

mod apply;
mod kind;
mod request;
mod response;
mod table;
#[cfg(test)]
mod tests;
mod ttl;
mod update;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::names;
use crate::types::{self, WILDCARD};

use kind::{Kind, Reply};
use response::Head;
use table::{PENDING, REJECTED, WATCHED};
pub use update::{
    Answer, Expired, Limits, Malformed, Options, Protocol, Receipt, Refused, Resource,
    ResourceError, TypeStatus, Update, Verdict,
};
use update::{Pending, Problem};

/// Bytes of an `error_detail`'s text; more is cut, as Envoy does.
const ERROR_BYTES_MAX: usize = 4096;

/// The client's side of one stream: of ADS with many types, or of one type.
#[derive(Debug)]
pub struct Mux {
    options: Options,
    /// In the order of first subscription.
    kinds: Vec<Kind>,
    is_connected: bool,
    /// How many streams there were.
    stream: u64,
    /// This stream has had its first request.
    spoke: bool,
    empty: Arc<str>,
}

impl Mux {
    /// One that is subscribed to nothing, and not connected.
    pub fn new(options: Options) -> Self {
        let empty = Arc::from("");
        Self { options, kinds: Vec::new(), is_connected: false, stream: 0, spoke: false, empty }
    }

    /// Subscribes to resources by name. Counted: a name is subscribed to until [`unsubscribe`]
    /// was called for it as often. `*` is [`subscribe_all`].
    ///
    /// A resource is handed out under its canonical name (see [`canonical_name`]).
    ///
    /// [`unsubscribe`]: Self::unsubscribe
    /// [`subscribe_all`]: Self::subscribe_all
    /// [`canonical_name`]: Self::canonical_name
    ///
    /// # Errors
    /// A name that cannot be subscribed to, or a type too many. None of `names` is subscribed to
    /// then.
    pub fn subscribe(&mut self, type_url: &str, names: &[Arc<str>]) -> Result<(), Refused> {
        let canonical = names.iter().map(|n| self.own_name(n)).collect::<Result<Vec<_>, _>>()?;
        let kind = self.kind_or_new(type_url)?;
        for name in &canonical {
            match &**name {
                WILDCARD => kind.subscribe_all(),
                _ => kind.subscribe(name),
            }
        }
        Ok(())
    }

    /// Subscribes to all resources of a type (the wildcard). Counted, as by name.
    ///
    /// # Errors
    /// A type too many.
    pub fn subscribe_all(&mut self, type_url: &str) -> Result<(), Refused> {
        self.kind_or_new(type_url)?.subscribe_all();
        Ok(())
    }

    /// Takes back one subscription of each of `names`. What nobody is subscribed to is forgotten:
    /// it is delivered again after the next subscription.
    pub fn unsubscribe(&mut self, type_url: &str, names: &[Arc<str>]) {
        let canonical: Vec<_> = names.iter().filter_map(|name| self.own_name(name).ok()).collect();
        let Some(kind) = self.kind_mut(type_url) else { return };
        for name in &canonical {
            match &**name {
                WILDCARD => kind.unsubscribe_all(),
                _ => kind.unsubscribe(name),
            }
        }
    }

    /// Takes back one subscription to everything; after the last, only what is subscribed to by
    /// name stays.
    pub fn unsubscribe_all(&mut self, type_url: &str) {
        if let Some(kind) = self.kind_mut(type_url) {
            kind.unsubscribe_all();
        }
    }

    /// Whether a resource is named in [`Update::renewed`] whenever it comes as it was accepted:
    /// for those to whom it matters that it came. Over when the resource is forgotten.
    pub fn watch(&mut self, type_url: &str, name: &str, on: bool) {
        let Some(kind) = self.kind_mut(type_url) else { return };
        let slot = kind.table.find(name);
        if let Some(entry) = slot.and_then(|slot| kind.table.get_mut(slot)) {
            entry.set(WATCHED, on);
        }
    }

    /// The name under which a resource is asked for and handed out: an `xdstp://` name gets the
    /// node's context parameters, and its own in canonical order; any other stays as it is.
    ///
    /// # Errors
    /// A name that is too long, no valid `xdstp://` name, or one of a collection.
    pub fn canonical_name(&self, name: &str) -> Result<Arc<str>, Refused> {
        self.own_name(&Arc::from(name))
    }

    /// A stream has begun: each type asks anew, with what it has already.
    pub fn connected(&mut self) {
        self.begin(true);
    }

    /// The stream has ended: nothing more is sent on it, and no answer to what it brought.
    pub fn disconnected(&mut self) {
        self.begin(false);
    }

    fn begin(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.stream += 1;
        self.spoke = false;
        for kind in &mut self.kinds {
            kind.reset_stream(&self.empty);
        }
    }

    /// Whether a stream is there.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Compares a response with what was accepted. Costs one hash of each body, and copies those
    /// that differ. The [`Receipt`] in the update must be handed back to [`answer`](Self::answer).
    ///
    /// # Errors
    /// Bytes that are no response. Nothing of it was taken; the stream is to be ended.
    pub fn received(&mut self, bytes: &[u8], now: Duration) -> Result<Update, Malformed> {
        let (protocol, limits) = (self.options.protocol, self.options.limits);
        if bytes.len() > limits.message_bytes {
            let (is, may) = (bytes.len(), limits.message_bytes);
            return Err(Malformed(format!("{is} bytes are more than the {may} we take")));
        }
        let head = Head::read(protocol, bytes)
            .map_err(|_| Malformed("the bytes are no message of the protocol".into()))?;
        for (what, text) in [("a nonce", head.nonce), ("a version", head.version)] {
            if text.len() > limits.name_bytes {
                return Err(Malformed(format!("{what} of {} bytes", text.len())));
            }
        }
        let stream = self.stream;
        match self.kinds.iter_mut().find(|kind| *kind.url == *head.type_url) {
            Some(kind) => apply::compare(kind, &head, (&self.options, stream), bytes, now),
            None => Ok(unsubscribed(&head, stream)),
        }
    }

    /// Ends an update: what was not rejected is accepted, and the server will be told.
    ///
    /// State of the world: the version is the response's if nothing was rejected, else it stays.
    pub fn answer(&mut self, receipt: Receipt, verdict: Verdict) -> Answer {
        let Receipt { type_url, version, nonce, stream, pending, mut problems, silent } = receipt;
        let is_current = self.is_connected && stream == self.stream;
        let Some(kind) = self.kind_mut(&type_url).filter(|_| !silent) else {
            return Answer::Silent;
        };
        let mut rejected: Vec<_> = verdict.rejected.iter().map(|(name, _)| &**name).collect();
        rejected.sort_unstable();
        for pending in pending {
            let is_rejected = rejected.binary_search(&&*pending.name).is_ok();
            settle(kind, pending, is_rejected);
        }
        let told = verdict.rejected.into_iter();
        problems.extend(told.map(|(name, text)| Problem { name: Some(name), text }));
        let error = (!problems.is_empty()).then(|| error_text(&type_url, &problems));
        kind.is_mixed = error.is_some();
        if error.is_none() {
            kind.version = version;
        }
        kind.error.clone_from(&error);
        if is_current {
            kind.nonce = Arc::clone(&nonce);
            kind.push_reply(Reply { nonce, error: error.clone() });
        }
        match error {
            _ if !is_current => Answer::Silent,
            None => Answer::Ack,
            Some(text) => Answer::Nack(text),
        }
    }

    /// The next request to send; `None` if there is nothing to say. To be asked until then after
    /// every other call.
    pub fn poll_request(&mut self) -> Option<Vec<u8>> {
        if !self.is_connected {
            return None;
        }
        let answers = |kind: &Kind| kind.paused == 0 && !kind.replies.is_empty();
        let kinds = &mut self.kinds;
        let at =
            kinds.iter().position(answers).or_else(|| kinds.iter().position(Kind::has_request))?;
        let kind = kinds.get_mut(at)?;
        let with_node = !self.options.node_on_first_only || !self.spoke || kind.node_due;
        self.spoke = true;
        let node = with_node.then_some(&*self.options.node);
        Some(request::write(self.options.protocol, kind, node))
    }

    /// Holds back all requests of a type, answers too, until [`resume`](Self::resume) was called
    /// as often.
    pub fn pause(&mut self, type_url: &str) {
        if let Ok(kind) = self.kind_or_new(type_url) {
            kind.paused = kind.paused.saturating_add(1);
        }
    }

    /// Takes back one [`pause`](Self::pause).
    pub fn resume(&mut self, type_url: &str) {
        if let Some(kind) = self.kind_mut(type_url) {
            kind.paused = kind.paused.saturating_sub(1);
        }
    }

    /// Replaces the node (an encoded `Node`): every type that has asked sends it to the server.
    pub fn set_node(&mut self, node: Arc<[u8]>) {
        self.options.node = node;
        self.kinds.iter_mut().for_each(|kind| kind.node_due = kind.asked);
    }

    /// When [`expire`](Self::expire) is to be called; `None`: nothing has a time to live.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.kinds.iter().filter_map(|kind| kind.deadlines.next()).min()
    }

    /// Takes out what was not renewed in time. The server is told nothing.
    pub fn expire(&mut self, now: Duration) -> Vec<Expired> {
        let mut expired = Vec::new();
        for kind in &mut self.kinds {
            let due = kind.deadlines.take_due(now);
            let removed: Vec<_> = due.into_iter().filter_map(|slot| kind.forget(slot)).collect();
            if !removed.is_empty() {
                kind.is_mixed = true;
                expired.push(Expired { type_url: Arc::clone(&kind.url), removed });
            }
        }
        expired
    }

    /// The state of every type, in the order of first subscription.
    pub fn status(&self) -> Vec<TypeStatus> {
        self.kinds.iter().map(Kind::status).collect()
    }

    fn own_name(&self, name: &Arc<str>) -> Result<Arc<str>, Refused> {
        let refuse = |reason: String| Refused { name: names::start(name).to_owned(), reason };
        let max = self.options.limits.name_bytes;
        if name.len() > max {
            return Err(refuse(format!("it has {} bytes, and {max} are allowed", name.len())));
        }
        names::with_context(name, &self.options.context_params).map_err(refuse)
    }

    fn kind_mut(&mut self, type_url: &str) -> Option<&mut Kind> {
        self.kinds.iter_mut().find(|kind| *kind.url == *type_url)
    }

    fn kind_or_new(&mut self, type_url: &str) -> Result<&mut Kind, Refused> {
        let at = self.kinds.iter().position(|kind| *kind.url == *type_url);
        let max = self.options.limits.types;
        if at.is_none() && self.kinds.len() >= max {
            let reason = format!("a stream carries at most {max} types");
            return Err(Refused { name: type_url.to_owned(), reason });
        }
        let at = at.unwrap_or_else(|| {
            self.kinds.push(Kind::new(type_url, &self.empty));
            self.kinds.len() - 1
        });
        let reason = "no such type".to_owned();
        self.kinds.get_mut(at).ok_or_else(|| Refused { name: type_url.to_owned(), reason })
    }
}

/// Accepts or rejects one resource, unless it was given up meanwhile.
fn settle(kind: &mut Kind, pending: Pending, is_rejected: bool) {
    let Some(slot) = kind.table.find(&pending.name) else { return };
    let Some(entry) = kind.table.get_mut(slot).filter(|entry| entry.is(PENDING)) else { return };
    entry.set(PENDING, false);
    entry.set(REJECTED, is_rejected);
    if is_rejected {
        return;
    }
    (entry.hash, entry.version) = (pending.hash, Some(pending.version));
    kind.expire_at(slot, pending.deadline);
}

/// A response of a type that was never subscribed to: Envoy passes over it.
fn unsubscribed(head: &Head<'_>, stream: u64) -> Update {
    let (type_url, version) = (Arc::from(head.type_url), Arc::from(head.version));
    let nonce = Arc::from(head.nonce);
    Update {
        type_url: Arc::clone(&type_url),
        version: Arc::clone(&version),
        nonce: Arc::clone(&nonce),
        control_plane: head.control_plane.map(Arc::from),
        changed: Vec::new(),
        removed: Vec::new(),
        restored: Vec::new(),
        renewed: Vec::new(),
        aliased: Vec::new(),
        unresolved: Vec::new(),
        errors: Vec::new(),
        unchanged: 0,
        ignored: head.items,
        receipt: Receipt {
            type_url,
            version,
            nonce,
            stream,
            pending: Vec::new(),
            problems: Vec::new(),
            silent: true,
        },
    }
}

/// All that is wrong in one text, in Envoy's form for clusters and listeners.
fn error_text(type_url: &str, problems: &[Problem]) -> Arc<str> {
    let (intro, between) = match type_url {
        types::CLUSTER => ("Error adding/updating cluster(s) ", ", "),
        types::LISTENER => ("Error adding/updating listener(s) ", "\n"),
        _ => ("", "\n"),
    };
    let mut text = intro.to_owned();
    for (at, problem) in problems.iter().enumerate() {
        text.push_str(if at > 0 { between } else { "" });
        // Writing to a string cannot fail.
        let _ = match &problem.name {
            Some(name) => write!(text, "{name}: {}", problem.text),
            None => write!(text, "{}", problem.text),
        };
        if text.len() > ERROR_BYTES_MAX {
            text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
            text.push_str("...(truncated)");
            break;
        }
    }
    text.into()
}
