//! `envoy.filters.network.echo`: gives back what it gets.

use std::future::poll_fn;
use std::rc::Rc;

use crate::listener::Admitted;
use crate::transport::Stream;

/// Serves a connection to its end.
pub(crate) async fn serve(link: Admitted, stream: Stream) {
    let shard = Rc::clone(&link.shard);
    let key = shard.connections.enter(&link.listener).await;
    let limit = link.listener.plan.buffer_limit as usize;
    while let Ok(Some(chunk)) = stream.recv().await {
        stream.write(chunk);
        let room = poll_fn(|cx| stream.poll_queued_below(cx, limit)).await;
        if room.is_err() {
            break;
        }
    }
    stream.shutdown_write();
    let _gone = poll_fn(|cx| stream.poll_queued_below(cx, 0)).await;
    shard.connections.leave(key, &link.listener);
}
