//! The client's side of a handshake.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use ringway_runtime as runtime;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{DnsName, ServerName};

use super::count;
use super::gate::Gate;
use super::handshake::{Conn, Failed, Handshake, Input, take_over};
use super::stream::TlsStream;
use crate::observe::stats::ShardStats;
use crate::plan::tls::notes::Notes;
use crate::plan::tls::{ClientContext, ClientMaterial};
use crate::transport::{ConnectHints, HandshakeError};

/// Does a handshake with a server. Who calls limits its time.
///
/// # Errors
/// Why there is no TLS connection. The statistics know by then.
pub(crate) async fn connect(
    gate: &Gate,
    stats: &ShardStats,
    context: &ClientContext,
    raw: runtime::Stream,
    hints: &ConnectHints<'_>,
) -> Result<TlsStream, HandshakeError> {
    let began = runtime::now();
    let name = match hints.sni {
        Some(sni) => Some(Arc::from(sni)),
        None => context.server_name(hints.host_name),
    };
    let Some(material) = context.material() else {
        context.count_not_ready(stats);
        return Err(super::not_ready());
    };
    let conn = match client(&material, name.as_deref(), hints) {
        Ok(conn) => conn,
        Err(reason) => {
            let failed = Failed::new(reason, true);
            return Err(count::failed(stats, &context.stats, failed));
        }
    };
    // Ours is known before the server asks for it, and named in logs even where it does not.
    let notes = Notes {
        certificate: material.own.clone(),
        expected_san: hints.san.map(Arc::from),
        addresses: super::addresses(&raw),
        ..Notes::default()
    };
    let input = Input::new(Vec::new());
    let mut handshake = Handshake { conn, input, raw: &raw, gate, notes, began };
    if let Err(failed) = handshake.run().await {
        return Err(super::dismiss(raw, stats, &context.stats, failed));
    }
    let info = handshake.info(name.as_deref().map(Rc::from));
    count::done(stats, &context.stats, &info, &handshake.notes);
    let Handshake { conn, input, .. } = handshake;
    take_over(raw, conn, input, info).map_err(HandshakeError::Failed)
}

fn client(
    material: &ClientMaterial,
    name: Option<&str>,
    hints: &ConnectHints<'_>,
) -> Result<Conn, String> {
    // An address as a name sends no SNI; the verifier looks at names by itself.
    let nameless = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let name = match name {
        None => nameless,
        Some(name) => match DnsName::try_from(name) {
            Ok(name) => ServerName::DnsName(name.to_owned()),
            // Not a name that SNI can carry, such as an address.
            Err(_) => nameless,
        },
    };
    let config = Arc::clone(&material.config);
    let configured = !config.alpn_protocols.is_empty() || hints.alpn.is_empty();
    let offer = match hints.offer {
        Some(offer) => Some(offer.iter().map(|name| name.to_vec()).collect()),
        None if configured => None,
        None => Some(hints.alpn.iter().map(|name| name.to_vec()).collect()),
    };
    let conn = match offer {
        Some(offer) => UnbufferedClientConnection::new_with_alpn(config, name, offer),
        None => UnbufferedClientConnection::new(config, name),
    };
    conn.map(|conn| Conn::Client(Box::new(conn))).map_err(|error| error.to_string())
}
