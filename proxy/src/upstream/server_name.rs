//! Server names that follow requests (`auto_sni`, `auto_san_validation`): connections for different
//! names are kept apart.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::{ShardCluster, ShardHost};
use crate::plan::tls::AutoNames;
use crate::plan::transport::Upstream;
use crate::transport::ConnectHints;

/// What tells connections to a host apart, besides what they speak.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    /// The PROXY header they begin with.
    pub(super) header: Option<Rc<[u8]>>,
    /// The host that requests on them are for.
    pub(super) server_name: Option<Rc<str>>,
    /// What was offered over TLS in place of what the cluster says.
    pub(super) alpn: Option<Arc<[Box<[u8]>]>>,
}

impl PoolKey {
    /// All connections are alike.
    pub(super) fn is_empty(&self) -> bool {
        self.header.is_none() && self.server_name.is_none() && self.alpn.is_none()
    }
}

impl ShardCluster {
    /// The name that the connection of a request to a host has to be for, if the cluster asks for
    /// one. `value` reads a header of the request.
    pub(crate) fn server_name<'h>(
        &self,
        host: &ShardHost,
        value: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Option<Rc<str>> {
        let auto = auto_names(&self.plan().socket(host.plan()).transport)?;
        let header = auto.header.as_deref().and_then(&value).filter(|value| !value.is_empty());
        let authority = std::str::from_utf8(header.or_else(|| value(":authority"))?).ok()?;
        let host = without_port(authority);
        // Requests in a row are mostly for one name.
        let mut last = self.shared().last_server_name.borrow_mut();
        match &*last {
            Some(name) if **name == *host => Some(Rc::clone(name)),
            _ => {
                *last = Some(Rc::from(host));
                last.clone()
            }
        }
    }
}

fn auto_names(transport: &Upstream) -> Option<&AutoNames> {
    match transport {
        Upstream::Tls(context) => Some(&context.recipe().auto).filter(|auto| auto.sni || auto.san),
        Upstream::Raw => None,
    }
}

/// What a handshake for `name` is told. An address is never asked for by SNI.
pub(super) fn hints<'a>(transport: &Upstream, name: Option<&'a str>) -> ConnectHints<'a> {
    let (Some(auto), Some(name)) = (auto_names(transport), name) else {
        return ConnectHints::default();
    };
    ConnectHints {
        sni: Some(name).filter(|name| auto.sni && name.parse::<IpAddr>().is_err()),
        san: Some(name).filter(|_| auto.san),
        ..ConnectHints::default()
    }
}

/// Host of an authority; an IPv6 address without its brackets.
fn without_port(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(authority, |(host, _)| host);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
