//! The server's side of a handshake.

use std::rc::Rc;
use std::time::Duration;

use ringway_runtime as runtime;
use rustls::ServerConfig;
use std::sync::Arc;

use super::count;
use super::gate::Gate;
use super::handshake::{Conn, Failed, Handshake, Input, take_over};
use super::hello::{self, Hello};
use super::stream::TlsStream;
use crate::observe::stats::ShardStats;
use crate::plan::tls::notes::Notes;
use crate::plan::tls::{ServerContext, ServerMaterial};
use crate::transport::HandshakeError;

/// Does a handshake with a client. Its time is limited by `timeout`, unless that is zero.
///
/// # Errors
/// Why there is no TLS connection. The statistics know by then.
pub(crate) async fn accept(
    gate: &Gate,
    stats: &ShardStats,
    context: &ServerContext,
    raw: runtime::Stream,
    timeout: Duration,
) -> Result<TlsStream, HandshakeError> {
    let work = handshake(gate, stats, context, raw);
    if timeout.is_zero() {
        return work.await;
    }
    match runtime::timeout(timeout, work).await {
        Ok(done) => done,
        Err(_) => {
            stats.inc(context.stats.connection_error());
            Err(HandshakeError::TimedOut)
        }
    }
}

async fn handshake(
    gate: &Gate,
    stats: &ShardStats,
    context: &ServerContext,
    raw: runtime::Stream,
) -> Result<TlsStream, HandshakeError> {
    let began = runtime::now();
    if !context.is_ready() {
        context.count_not_ready(stats);
        return Err(super::not_ready());
    }
    let mut input = Input::new(Vec::new());
    let hello = match read_hello(&raw, &mut input).await {
        Ok(hello) => hello,
        Err(failed) => return Err(count::failed(stats, &context.stats, failed)),
    };
    if gate.pass().await.is_err() {
        let failed = Failed::new("too many handshakes at once", true);
        return Err(count::failed(stats, &context.stats, failed));
    }
    let Some(material) = context.material() else {
        context.count_not_ready(stats);
        return Err(super::not_ready());
    };
    let config = config_for(&material, &hello);
    let conn = match Conn::server(config) {
        Ok(conn) => conn,
        Err(error) => {
            let failed = Failed::new(error.to_string(), true);
            return Err(count::failed(stats, &context.stats, failed));
        }
    };
    let notes = Notes {
        ocsp_capable: hello.status_request,
        addresses: super::addresses(&raw),
        ..Notes::default()
    };
    let mut handshake = Handshake { conn, input, raw: &raw, gate, notes, began };
    if let Err(failed) = handshake.run().await {
        return Err(super::dismiss(raw, stats, &context.stats, failed));
    }
    let sni = match &handshake.conn {
        Conn::Server(_) => hello.sni.as_deref().map(Rc::from),
        Conn::Client(_) => None,
    };
    let info = handshake.info(sni);
    count::done(stats, &context.stats, &info, &handshake.notes);
    let Handshake { conn, input, .. } = handshake;
    take_over(raw, conn, input, info).map_err(HandshakeError::Failed)
}

/// Receives until the whole hello is here.
async fn read_hello(raw: &runtime::Stream, input: &mut Input) -> Result<Hello, Failed> {
    let mut scratch = Vec::new();
    loop {
        if let Some(hello) = hello::peek(input.bytes(), &mut scratch) {
            return Ok(hello);
        }
        match raw.recv().await {
            Ok(Some(chunk)) if input.add(&chunk) => {}
            Ok(Some(_)) => return Err(Failed::new("too long a hello", true)),
            Ok(None) => return Err(Failed::new("connection closed", false)),
            Err(error) => return Err(Failed::new(error.to_string(), false)),
        }
    }
}

/// A client whose protocols have nothing in common with ours goes without, as in Envoy; rustls by
/// itself would refuse it.
fn config_for(material: &ServerMaterial, hello: &Hello) -> Arc<ServerConfig> {
    let ours = &material.config.alpn_protocols;
    let theirs = &hello.alpn;
    let common =
        theirs.is_empty() || theirs.iter().any(|name| ours.iter().any(|own| **own == **name));
    Arc::clone(if common { &material.config } else { &material.without_alpn })
}
