//! `envoy.filters.network.echo`: gives back what it gets.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use ringway_runtime::Chunk;

use crate::listener::Admitted;
use crate::transport::Stream;

/// What the client sends; `None` at its end, or when the chain is over.
async fn next(link: &Admitted, stream: &Stream) -> Option<Chunk> {
    poll_fn(|cx| match link.chain.is_over() {
        true => Poll::Ready(None),
        false => stream.poll_recv(cx).map(|received| received.ok().flatten()),
    })
    .await
}

/// Serves a connection to its end.
pub(crate) async fn serve(link: Admitted, stream: Stream) {
    let shard = Rc::clone(&link.shard);
    let key = shard.connections.enter(&link).await;
    let limit = link.listener.plan.buffer_limit as usize;
    while let Some(chunk) = next(&link, &stream).await {
        stream.write(chunk);
        let room = poll_fn(|cx| stream.poll_queued_below(cx, limit)).await;
        if room.is_err() {
            break;
        }
    }
    stream.shutdown_write();
    let _gone = poll_fn(|cx| stream.poll_queued_below(cx, 0)).await;
    shard.connections.leave(key, &link);
}
