//! Servers of bare bytes: what a TCP proxy forwards to.

use super::connection::QUEUED_MAX;
use ringway_runtime::{Chunk, Stream};
use std::io;

/// Bytes a source writes at once.
const BLOCK: usize = 64 << 10;

/// Sends back what comes, half-close included.
pub(super) async fn echo(stream: Stream) -> io::Result<()> {
    // Chunks of 64 KB are what it is for: received whole, they go back in one send.
    stream.recv_hint(usize::MAX);
    while let Some(chunk) = stream.recv().await? {
        stream.write(chunk);
        stream.queued_below(QUEUED_MAX).await?;
    }
    stream.flush().await
}

/// Reads and drops what comes.
pub(super) async fn sink(stream: Stream) -> io::Result<()> {
    stream.recv_hint(usize::MAX);
    while stream.recv().await?.is_some() {}
    Ok(())
}

/// Writes as fast as the peer reads.
pub(super) async fn source(stream: Stream) -> io::Result<()> {
    let block = Chunk::from(vec![b'x'; BLOCK]);
    loop {
        stream.write(block.clone());
        stream.queued_below(4 * BLOCK).await?;
        if stream.readable_closed() {
            return Ok(());
        }
    }
}
