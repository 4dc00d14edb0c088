//! One request and its whole answer, kept in memory up to a limit: what health checks and the
//! clients of the proxy's own (polled control planes) do over a connection.

use std::future::poll_fn;

use ringway_runtime::Chunk;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, HeadLimits, HeaderKeyFormat, ParseOptions, encode_request_head,
    parse_response, request_framing,
};
use ringway_wire::{HeaderMap, RequestHead, ResponseHead};

use crate::http::down::Frame;
use crate::http2::{StreamEnd, StreamHandle};
use crate::plan::Cluster;
use crate::transport::Stream;

/// An answer that has come completely.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    /// As much of the body as was to be kept.
    pub(super) body: Vec<u8>,
    /// The connection takes another request.
    pub(super) reusable: bool,
}

/// Over HTTP/1.1; `None` if what comes is no answer, or the connection ends before it does. At most
/// `keep` bytes of its body are kept.
pub(super) async fn over_http1(
    stream: &Stream,
    plan: &Cluster,
    head: &RequestHead,
    body: &[u8],
    keep: usize,
) -> Option<Answer> {
    let framing = request_framing(head, body.is_empty(), false);
    let mut out = Vec::new();
    encode_request_head(head, framing, HeaderKeyFormat::LowerCase, &mut out);
    out.extend_from_slice(body);
    stream.write(Chunk::from(out));
    read_http1(stream, plan, head, keep).await
}

async fn read_http1(
    stream: &Stream,
    plan: &Cluster,
    request: &RequestHead,
    keep: usize,
) -> Option<Answer> {
    let limits = HeadLimits {
        head_bytes_max: plan.http.max_headers_bytes as usize,
        headers_count_max: plan.http.max_headers_count as usize,
    };
    let options = ParseOptions::default();
    let mut head = ResponseHead::default();
    let mut input = Vec::new();
    let parsed = loop {
        let found = parse_response(&input, &limits, &options, &request.method, &mut head).ok()?;
        match found {
            Some(parsed) if head.is_interim() => {
                input.drain(..parsed.head_len);
            }
            Some(parsed) => break parsed,
            None => input.extend_from_slice(&stream.recv().await.ok()??),
        }
    };
    input.drain(..parsed.head_len);
    let mut decoder = BodyDecoder::response(parsed.body, &limits, &options);
    let mut body = Vec::new();
    loop {
        while !decoder.is_done() && !input.is_empty() {
            let decoded = decoder.decode(&input).ok()?;
            let data = input.get(decoded.data)?;
            body.extend(data.iter().take(keep - body.len().min(keep)));
            input.drain(..decoded.consumed);
        }
        if decoder.is_done() {
            // More than was asked for: the next answer could not be told from it.
            let reusable = parsed.keep_alive && input.is_empty();
            return Some(Answer { head, body, reusable });
        }
        match stream.recv().await.ok()? {
            Some(data) => input.extend_from_slice(&data),
            None if parsed.body == BodyKind::UntilClose => {
                return Some(Answer { head, body, reusable: false });
            }
            None => return None,
        }
    }
}

/// Over a stream of HTTP/2; with the answer's trailers. `reusable` says nothing here.
pub(super) async fn over_http2(
    stream: &StreamHandle,
    request: &RequestHead,
    body: &[u8],
    keep: usize,
) -> Result<(Answer, HeaderMap), StreamEnd> {
    stream.send_request(request, None, body.is_empty());
    if !body.is_empty() {
        stream.send_data(Chunk::copy_from(body), true);
    }
    let mut head = ResponseHead::default();
    loop {
        poll_fn(|cx| stream.poll_response(cx, &mut head)).await?;
        if !head.is_interim() {
            break;
        }
    }
    let (body, trailers) = read_http2(stream, keep).await?;
    Ok((Answer { head, body, reusable: true }, trailers))
}

/// The rest of a stream: at most `keep` bytes of the body, and the trailers.
pub(super) async fn read_http2(
    stream: &StreamHandle,
    keep: usize,
) -> Result<(Vec<u8>, HeaderMap), StreamEnd> {
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Frame::Data(chunk) = poll_fn(|cx| stream.poll_body(cx, &mut trailers)).await? {
        body.extend(chunk.iter().take(keep - body.len().min(keep)));
    }
    Ok((body, trailers))
}
