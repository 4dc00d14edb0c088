//! `envoy.filters.network.direct_response`: says one thing and closes.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_runtime::{Chunk, timeout};

use crate::listener::Admitted;
use crate::transport::Stream;

/// A client that reads nothing must not hold the connection for ever.
const FLUSH_MAX: Duration = Duration::from_secs(60);

/// Serves a connection to its end.
pub(crate) async fn serve(link: Admitted, stream: Stream, response: Arc<[u8]>) {
    let shard = Rc::clone(&link.shard);
    let key = shard.connections.enter(&link).await;
    if !response.is_empty() {
        stream.write(Chunk::copy_from(&response));
    }
    stream.shutdown_write();
    let flushed = poll_fn(|cx| stream.poll_queued_below(cx, 0).map(drop));
    let _in_time = timeout(FLUSH_MAX, flushed).await;
    link.log(|cx| cx.response_code_details = Some("direct_response"));
    shard.connections.leave(key, &link);
}
