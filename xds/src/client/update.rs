//! What goes in and out of a [`Mux`](super::Mux).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Which of the two forms of the protocol a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// State of the world: `DiscoveryRequest`, `DiscoveryResponse`.
    Sotw,
    /// Incremental: `DeltaDiscoveryRequest`, `DeltaDiscoveryResponse`.
    Delta,
}

/// How a [`Mux`](super::Mux) speaks.
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of the protocol.
    pub protocol: Protocol,
    /// An encoded `envoy.config.core.v3.Node`.
    pub node: Arc<[u8]>,
    /// Whether only the first request of a stream carries the node
    /// (`set_node_on_first_message_only`).
    pub node_on_first_only: bool,
    /// Context parameters that every `xdstp://` name is given where it has no such key itself
    /// (`node_context_params` of the bootstrap, with their values).
    pub context_params: Vec<(String, String)>,
    /// Whether every resource counts as [watched](super::Mux::watch).
    pub watch_all: bool,
    /// What a server may make us keep.
    pub limits: Limits,
}

/// What a server may make us keep or read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Types on one stream.
    pub types: usize,
    /// Resources of one type.
    pub resources: usize,
    /// Bytes of a resource's name, version or alias, and of a nonce.
    pub name_bytes: usize,
    /// Bytes of a response.
    pub message_bytes: usize,
    /// Aliases of one resource.
    pub aliases: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            types: 64,
            resources: 1_000_000,
            name_bytes: 16 * 1024,
            message_bytes: 1 << 30,
            aliases: 1024,
        }
    }
}

/// One response, compared with what was accepted before.
#[derive(Debug)]
pub struct Update {
    /// The type of every resource in it.
    pub type_url: Arc<str>,
    /// `version_info` or `system_version_info`.
    pub version: Arc<str>,
    /// What the answer will name.
    pub nonce: Arc<str>,
    /// Who sent it (`control_plane.identifier`), if it says so.
    pub control_plane: Option<Arc<str>>,
    /// Resources whose content is not the accepted one.
    pub changed: Vec<Resource>,
    /// Resources that are gone, and those asked for that do not exist.
    pub removed: Vec<Arc<str>>,
    /// Resources last rejected, of which the accepted content has come back: nothing is to be done
    /// but to forget the error.
    pub restored: Vec<Arc<str>>,
    /// Resources that came as they were accepted, of those that are
    /// [watched](super::Mux::watch): name and version.
    pub renewed: Vec<(Arc<str>, Arc<str>)>,
    /// Resources that came as they were accepted, by an alias each (VHDS): alias and name.
    pub aliased: Vec<(Arc<str>, Arc<str>)>,
    /// Names and aliases asked for that the server has nothing for (VHDS).
    pub unresolved: Vec<Arc<str>>,
    /// Resources the server cannot give, and why (`resource_errors`).
    pub errors: Vec<ResourceError>,
    /// How many came as they were accepted.
    pub unchanged: usize,
    /// How many came that nobody asked for.
    pub ignored: usize,
    /// To be handed to [`Mux::answer`](super::Mux::answer).
    pub receipt: Receipt,
}

/// A resource that is new or not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Of the wrapper, or field 1 of the body; an `xdstp://` name in canonical form.
    pub name: Arc<str>,
    /// Its own version, or that of the response.
    pub version: Arc<str>,
    /// xxh64 of the body.
    pub hash: u64,
    /// The message (`Any.value`).
    pub body: Arc<[u8]>,
    /// How long it lives unless it is renewed.
    pub ttl: Option<Duration>,
    /// Other names it was asked for by.
    pub aliases: Box<[Arc<str>]>,
}

/// Why the server has no such resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceError {
    /// The resource asked for.
    pub name: Arc<str>,
    /// A `google.rpc.Code`.
    pub code: i32,
    /// In the server's words.
    pub message: String,
}

/// Resources whose time to live is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Their type.
    pub type_url: Arc<str>,
    /// They are gone, as if the server had removed them.
    pub removed: Vec<Arc<str>>,
}

/// A response that waits for its answer.
#[derive(Debug)]
#[must_use = "a response that is not answered is sent no more updates for"]
pub struct Receipt {
    pub(super) type_url: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) nonce: Arc<str>,
    /// The stream it came by: an answer is not sent on another.
    pub(super) stream: u64,
    /// What is accepted if nobody objects.
    pub(super) pending: Vec<Pending>,
    /// What is wrong with it already.
    pub(super) problems: Vec<Problem>,
    /// The type has no subscriber: Envoy does not answer that.
    pub(super) silent: bool,
}

/// A resource that counts as accepted once its response is answered.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) hash: u64,
    /// When it ends, on the clock of `received`.
    pub(super) deadline: Option<Duration>,
}

/// What the receiver of an [`Update`] thinks of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Resources that could not be taken, and why; all others were.
    pub rejected: Vec<(Arc<str>, String)>,
}

/// What the server will be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All was accepted.
    Ack,
    /// Something was not: the text of `error_detail`.
    Nack(Arc<str>),
    /// Nothing: its stream is over, or nobody subscribes to the type.
    Silent,
}

/// Bytes that are no response, or one beyond the limits: the stream is to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub(super) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the management server sent no valid discovery response: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A subscription that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was asked for.
    pub name: String,
    /// Why not, and what to do.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot subscribe to `{}`: {}", self.name, self.reason)
    }
}

impl std::error::Error for Refused {}

/// Something wrong with a response, of one resource where it has a name.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) name: Option<Arc<str>>,
    pub(super) text: String,
}

/// The state of one type on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeStatus {
    /// The type.
    pub type_url: Arc<str>,
    /// The last accepted version.
    pub version: Arc<str>,
    /// Of the last response answered on this stream.
    pub nonce: Arc<str>,
    /// Whether all resources are subscribed to.
    pub wildcard: bool,
    /// How many are subscribed to by name.
    pub names: usize,
    /// How many are accepted.
    pub accepted: usize,
    /// Whether requests are held back.
    pub paused: bool,
    /// The text of the last NACK, until an ACK.
    pub error: Option<Arc<str>>,
}
