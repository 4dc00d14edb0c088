//! What is known of a connection before anything of its protocol is read.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::SockAddr;

use crate::control::message::Passport;
use crate::plan::chain_match::Facts;
use crate::plan::transport::Tlv;
use crate::upstream::internal::Passed;
use crate::upstream::proxy_header::OnBehalf;

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

/// What filters found out. Most connections have none of it, so it is kept apart.
#[derive(Debug, Default)]
struct Found {
    /// The socket's own peer, where `remote` comes from the PROXY protocol.
    direct_remote: Option<SockAddr>,
    /// The socket's own address, where `local` was restored.
    direct_local: Option<SockAddr>,
    /// `local` is where the client wanted to go before it was redirected.
    restored: bool,
    sni: Option<Rc<str>>,
    tls: bool,
    application_protocols: Vec<Box<[u8]>>,
    proxy_protocol: Option<ProxyHeader>,
    /// What `sni_cluster` asks for.
    upstream_cluster: RefCell<Option<Rc<str>>>,
    /// What came with a connection to an internal listener.
    passed: Option<Passed>,
    /// Another process has served it before.
    resumed: Option<Resumed>,
}

/// How far a connection was when another process gave it away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumed {
    /// Requests begun on it.
    pub served: u32,
    /// It is known to speak HTTP/1.
    pub http1: bool,
    /// It is not to be given away again.
    pub stays: bool,
}

/// What a PROXY protocol header said besides the addresses.
#[derive(Debug, Default)]
pub(crate) struct ProxyHeader {
    /// TLVs that `pass_through_tlvs` keeps, in order.
    pub tlvs: Vec<Tlv>,
}

/// `transport_protocol` of a connection nobody found to be TLS.
const RAW: &str = "raw_buffer";

impl Meta {
    /// A connection as accept(2) tells of it.
    pub(crate) fn new(id: u64, remote: SockAddr, local: SockAddr) -> Self {
        Self { id, remote, local, found: None }
    }

    /// A connection another process tells of.
    pub(crate) fn resumed(id: u64, passport: Passport, stays: bool) -> Self {
        let Passport {
            listener: _,
            remote,
            local,
            direct_remote,
            direct_local,
            restored,
            tls,
            sni,
            application_protocols,
            tlvs,
            age: _,
            served,
            http1,
        } = passport;
        let found = Found {
            direct_remote,
            direct_local,
            restored,
            sni: sni.map(Rc::from),
            tls,
            application_protocols,
            proxy_protocol: tlvs.map(|tlvs| ProxyHeader { tlvs }),
            upstream_cluster: RefCell::default(),
            passed: None,
            resumed: Some(Resumed { served, http1, stays }),
        };
        Self { id, remote, local, found: Some(Box::new(found)) }
    }

    /// What another process must know to go on with the connection.
    pub(crate) fn passport(&self, listener: &Arc<str>) -> Passport {
        let found = self.found.as_deref();
        Passport {
            listener: Arc::clone(listener),
            remote: self.remote.clone(),
            local: self.local.clone(),
            direct_remote: found.and_then(|found| found.direct_remote.clone()),
            direct_local: found.and_then(|found| found.direct_local.clone()),
            restored: self.local_restored(),
            tls: self.is_tls(),
            sni: self.sni().map(Into::into),
            application_protocols: self.application_protocols().to_vec(),
            tlvs: self.proxy_header().map(|header| header.tlvs.clone()),
            age: Duration::ZERO,
            served: 0,
            http1: false,
        }
    }

    /// How far it was when another process gave it away.
    pub(crate) fn resumption(&self) -> Option<Resumed> {
        self.found.as_ref()?.resumed
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

    /// [`Meta::local`] is an original destination: of a redirect, or of a PROXY protocol header.
    pub(crate) fn local_restored(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.restored)
    }

    /// [`Meta::local`], if it is an original destination.
    pub(crate) fn original_destination(&self) -> Option<SocketAddr> {
        self.local.as_inet().filter(|_| self.local_restored())
    }

    /// Whom an upstream connection for this one is for.
    pub(crate) fn on_behalf(&self) -> OnBehalf {
        OnBehalf {
            source: self.remote.as_inet(),
            destination: self.local.as_inet(),
            tlvs: self.proxy_header().map_or(Vec::new(), |header| header.tlvs.clone()),
        }
    }

    /// The server name a TLS client asked for, in lower case.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.found.as_ref()?.sni.as_deref()
    }

    /// The client speaks TLS, as far as anybody looked.
    pub(crate) fn is_tls(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.tls)
    }

    /// Protocols the client offers (ALPN) or was seen to speak, in its order.
    pub(crate) fn application_protocols(&self) -> &[Box<[u8]>] {
        self.found.as_ref().map_or(&[], |found| &found.application_protocols)
    }

    /// What the PROXY protocol header said, if there was one.
    pub(crate) fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.found.as_ref()?.proxy_protocol.as_ref()
    }

    /// The cluster a filter chose for this connection, in place of the configured one.
    pub(crate) fn upstream_cluster(&self) -> Option<Rc<str>> {
        self.found.as_ref()?.upstream_cluster.borrow().clone()
    }

    /// Sends the connection to the cluster named as its server name, if it has one.
    pub(crate) fn take_cluster_from_sni(&self) {
        if let Some(found) = &self.found
            && let Some(sni) = &found.sni
        {
            *found.upstream_cluster.borrow_mut() = Some(Rc::clone(sni));
        }
    }

    /// What filter chains are chosen by.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            local: self.local.as_inet(),
            remote: self.remote.as_inet(),
            direct_remote: self.direct_remote().as_inet(),
            server_name: self.sni().unwrap_or_default(),
            transport_protocol: if self.is_tls() { "tls" } else { RAW },
            application_protocols: self.application_protocols(),
        }
    }

    /// The client is another one than the peer.
    pub(super) fn set_remote(&mut self, remote: SockAddr) {
        let direct = std::mem::replace(&mut self.remote, remote);
        self.found().direct_remote.get_or_insert(direct);
    }

    /// The client wanted to go elsewhere than to our end.
    pub(super) fn restore_local(&mut self, local: SockAddr) {
        let direct = std::mem::replace(&mut self.local, local);
        let found = self.found();
        found.direct_local.get_or_insert(direct);
        found.restored = true;
    }

    /// The client speaks TLS.
    pub(super) fn set_tls(&mut self, sni: Option<&str>, alpn: Vec<Box<[u8]>>) {
        let found = self.found();
        found.tls = true;
        found.sni = sni.map(|name| Rc::from(name.to_ascii_lowercase()));
        found.application_protocols = alpn;
    }

    /// The client was seen to speak this.
    pub(super) fn set_application_protocol(&mut self, name: &'static [u8]) {
        self.found().application_protocols = vec![Box::from(name)];
    }

    /// The client sent a PROXY protocol header.
    pub(super) fn set_proxy_header(&mut self, header: ProxyHeader) {
        self.found().proxy_protocol = Some(header);
    }

    /// It is a connection to an internal listener.
    pub(super) fn set_passed(&mut self, passed: Passed) {
        self.found().passed = Some(passed);
    }

    /// Whom to connect to instead of where it is on its way, for an internal listener.
    pub(crate) fn waypoint(&self) -> Option<SocketAddr> {
        self.found.as_ref()?.passed?.waypoint
    }

    /// What came with a connection to an internal listener.
    pub(super) fn passed(&self) -> Option<Passed> {
        self.found.as_ref()?.passed
    }

    fn found(&mut self) -> &mut Found {
        self.found.get_or_insert_default()
    }
}
