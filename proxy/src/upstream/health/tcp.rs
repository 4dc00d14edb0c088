//! `tcp_health_check`.

use memchr::memmem;
use ringway_runtime::Chunk;

use super::verdict::Checked;
use crate::transport::Stream;

/// Bytes kept while looking for what is expected; a peer that sends more without it fails.
const RECEIVED_MAX: usize = 64 * 1024;

/// One exchange over a connection.
pub(super) struct TcpAttempt<'a> {
    pub(super) send: Option<&'a [u8]>,
    pub(super) receive: &'a [Vec<u8>],
}

impl TcpAttempt<'_> {
    /// Without anything to receive the connection itself is the test, and is closed.
    pub(super) async fn run(&self, stream: Stream) -> (Checked, Option<Stream>) {
        let passed = Checked::Passed { degraded: false };
        if self.receive.is_empty() {
            return (passed, None);
        }
        if let Some(send) = self.send {
            stream.write(Chunk::copy_from(send));
        }
        let mut received = Vec::new();
        while received.len() < RECEIVED_MAX {
            match stream.recv().await {
                Ok(Some(data)) => received.extend_from_slice(&data),
                Ok(None) | Err(_) => return (Checked::Network, None),
            }
            if contains_in_order(&received, self.receive) {
                return (passed, Some(stream));
            }
        }
        (Checked::Network, None)
    }
}

/// Whether all parts occur one behind the other, with anything between them.
pub(super) fn contains_in_order(text: &[u8], parts: &[Vec<u8>]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match memmem::find(rest, part) {
        Some(at) => {
            rest = rest.get(at + part.len()..).unwrap_or_default();
            true
        }
        None => false,
    })
}
