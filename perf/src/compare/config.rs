//! Configurations of the peers: one worker, keep-alive on both sides, no access log, no limits in
//! the way, and nothing added that the others do not add.

mod envoy;
mod haproxy;
mod nginx;

use super::peer::Kind;
use super::scenario::{Front, Key};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a peer is to do.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// What to listen for, and how to forward.
    pub(super) front: Front,
    /// Where to listen on 127.0.0.1.
    pub(super) port: u16,
    /// Where HTTP is forwarded to.
    pub(super) upstream: SocketAddr,
    /// Where TCP is forwarded to.
    pub(super) echo: SocketAddr,
    /// Most connections from clients.
    pub(super) connections: usize,
    /// Number of prefix routes; 0: everything goes to the upstream.
    pub(super) routes: usize,
    /// Whether HAProxy splices: the HTTP/1.1 suite keeps the configuration of its older reports.
    pub(super) splice: bool,
    /// Folder of the certificates.
    pub(super) certificates: PathBuf,
}

impl Task {
    /// Where this front forwards to.
    fn backend(&self) -> SocketAddr {
        if self.front == Front::Tcp { self.echo } else { self.upstream }
    }

    /// A file of a certificate.
    fn certificate(&self, key: Key, what: &str) -> String {
        self.certificates.join(format!("{}.{what}", key.name())).display().to_string()
    }
}

/// The prefix of the `index`th route.
pub(super) fn prefix(index: usize) -> String {
    format!("/r{index:05}/")
}

/// Files to write into `dir`; the first is the configuration.
pub(super) fn files(kind: Kind, task: &Task, dir: &Path) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Ringway | Kind::Envoy => vec![("envoy.yaml", envoy::file(task))],
        Kind::Haproxy => {
            let map: String = (0..task.routes).map(|at| format!("{} b\n", prefix(at))).collect();
            vec![("haproxy.cfg", haproxy::file(task, dir)), ("routes.map", map)]
        }
        Kind::Nginx => vec![("nginx.conf", nginx::file(task, dir))],
    }
}
