//! What an error destroys: who dies, whose fault it is, whether a retry is safe.

/// Whose fault an error is; decides which statistics count it and what the peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Blame {
    /// The client broke the protocol.
    Downstream,
    /// The server behind the proxy broke the protocol.
    Upstream,
    /// The proxy itself asked for something impossible.
    Internal,
}

/// What ends because of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scope {
    /// Only the stream; the connection goes on.
    Stream,
    /// The connection and every stream on it: its framing can no longer be trusted.
    Connection,
}

/// Whether the request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RetrySafety {
    /// The server has seen nothing of it: always.
    Unseen,
    /// The server may have acted on it: only as the retry policy says.
    MayHaveRun,
    /// The request itself is at fault: never.
    Never,
}

/// The reach of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Blast {
    /// Whose fault it is.
    pub blame: Blame,
    /// What ends.
    pub scope: Scope,
    /// Whether the request may be sent again.
    pub retry: RetrySafety,
}

impl Blast {
    /// A client that broke HTTP/1: the connection ends, nothing is sent again.
    pub const DOWNSTREAM: Self =
        Self { blame: Blame::Downstream, scope: Scope::Connection, retry: RetrySafety::Never };
    /// A server that broke HTTP/1: its connection ends, the request may have been carried out.
    pub const UPSTREAM: Self =
        Self { blame: Blame::Upstream, scope: Scope::Connection, retry: RetrySafety::MayHaveRun };
}
