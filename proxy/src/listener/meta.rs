//! What is known of a connection before anything of its protocol is read.

use std::rc::Rc;

use ringway_runtime::SockAddr;

/// Facts about one connection: made by the listener and its filters, kept for as long as it is
/// open, read by filters and logs.
#[derive(Debug)]
pub(crate) struct Meta {
    /// `%CONNECTION_ID%`.
    pub id: u64,
    remote: SockAddr,
    local: SockAddr,
    found: Option<Box<Found>>,
}

/// What listener filters found out. Most connections have none of it, so it is kept apart.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "listener filters fill it, the chain match reads it")]
pub(crate) struct Found {
    /// The socket's own peer, where `remote` comes from the PROXY protocol.
    pub direct_remote: Option<SockAddr>,
    /// The socket's own address, where `local` was restored.
    pub direct_local: Option<SockAddr>,
    /// The server name of the client hello, in lower case.
    pub sni: Option<Rc<str>>,
    /// The client speaks TLS (`transport_protocol: tls`).
    pub tls: bool,
    /// Protocols the client offers or was seen to speak.
    pub application_protocols: Vec<Box<[u8]>>,
}

impl Meta {
    /// A connection as accept(2) tells of it.
    pub(crate) fn new(id: u64, remote: SockAddr, local: SockAddr) -> Self {
        Self { id, remote, local, found: None }
    }

    /// The client: that of the PROXY protocol, else the peer.
    pub(crate) fn remote(&self) -> &SockAddr {
        &self.remote
    }

    /// Where the client wanted to go: the restored destination, else our end.
    pub(crate) fn local(&self) -> &SockAddr {
        &self.local
    }

    /// The peer of the socket.
    pub(crate) fn direct_remote(&self) -> &SockAddr {
        self.found.as_ref().and_then(|found| found.direct_remote.as_ref()).unwrap_or(&self.remote)
    }

    /// The socket's own address.
    pub(crate) fn direct_local(&self) -> &SockAddr {
        self.found.as_ref().and_then(|found| found.direct_local.as_ref()).unwrap_or(&self.local)
    }

    /// The server name a TLS client asked for.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.found.as_ref()?.sni.as_deref()
    }
}
