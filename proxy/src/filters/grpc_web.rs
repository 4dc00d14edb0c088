//! `envoy.filters.http.grpc_web`: gRPC for browsers, which have no trailers and may want text
//! (PROTOCOL-WEB.md): trailers become a last frame of the body, text is Base64.

use std::rc::Rc;
use std::task::{Context, Poll};

use prost_types::Any;
use ringway_runtime::{Chain, Chunk};
use ringway_wire::grpc::{self, Deframer, Piece, Prefix};
use ringway_wire::{HeaderMap, KnownName as K, ResponseHead, base64};
use ringway_xds::api::envoy::extensions::filters::http::grpc_web::v3 as api;

use super::grpc_calls::{self, CallStats};
use super::{CONTINUE, HttpFilter, Kind, NoRoute, Phases, Step, StreamCx, no_route};
use crate::config::compile::{At, Cx};
use crate::http::reply::LocalReply;

pub(super) const KIND: Kind<Config, Route> = Kind {
    type_name: "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    compile,
    route_type_name: "",
    compile_route: no_route,
};

/// It has no options.
#[derive(Debug)]
pub(crate) struct Config;

/// Nor has it on routes.
#[derive(Debug)]
pub(crate) struct Route(#[allow(dead_code, reason = "there is none")] NoRoute);

/// Bytes of a body that is no gRPC that are kept for `grpc-message`.
const MESSAGE_MAX: usize = 16 * 1024;

/// One call.
#[derive(Default)]
pub(crate) struct Filter {
    web: bool,
    text_request: bool,
    text_response: bool,
    /// Up to three characters of text that wait for their group.
    undecoded: Vec<u8>,
    /// Where the response's frames end.
    frames: Deframer,
    /// What of the response waits for the end of its frame.
    unencoded: Vec<u8>,
    /// Where the call is counted.
    call: Option<Rc<CallStats>>,
    /// The response is no gRPC: its body becomes `grpc-message`.
    foreign: bool,
}

fn compile(cx: &mut Cx<'_>, at: &At<'_>, any: &Any) -> Option<Config> {
    let api::GrpcWeb {} = cx.unpack::<api::GrpcWeb>(at, any)?;
    Some(Config)
}

impl HttpFilter for Filter {
    type Config = Config;

    fn phases(_: &Config) -> Phases {
        Phases::REQUEST_HEADERS | Phases::REQUEST_DATA | Phases::RESPONSE
    }

    fn begin(_: &Config) -> Self {
        Self::default()
    }

    fn poll_request_headers(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        _: bool,
    ) -> Poll<Step> {
        let headers = &mut s.work.request.headers;
        match headers.get(K::ContentType).and_then(web_type) {
            None => {
                s.ignore(Phases::REQUEST | Phases::RESPONSE);
                return CONTINUE;
            }
            Some(text) => self.text_request = text,
        }
        self.web = true;
        self.call = grpc_calls::of_request(s, "grpc-web", '.', |_, _| true);
        let headers = &mut s.work.request.headers;
        self.text_response = headers.get(K::Accept).and_then(web_type) == Some(true);
        headers.remove(K::ContentLength);
        headers.set(K::ContentType, b"application/grpc");
        headers.set(K::Te, b"trailers");
        headers.set(K::GrpcAcceptEncoding, b"identity");
        if !self.text_request {
            s.ignore(Phases::REQUEST_DATA);
        }
        CONTINUE
    }

    fn poll_request_data(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        _: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        let mut text = std::mem::take(&mut self.undecoded);
        data.drain().for_each(|chunk| text.extend_from_slice(&chunk));
        let whole = text.len() / 4 * 4;
        self.undecoded = text.split_off(whole);
        if end && !self.undecoded.is_empty() {
            return Poll::Ready(bad_text("grpc_base_64_decode_failed_bad_size"));
        }
        let mut plain = Vec::new();
        if !base64::decode(&text, &mut plain) {
            return Poll::Ready(bad_text("grpc_base_64_decode_failed"));
        }
        data.push(Chunk::copy_from(&plain));
        CONTINUE
    }

    fn poll_response_headers(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        end: bool,
    ) -> Poll<Step> {
        if !self.web {
            s.ignore(Phases::RESPONSE);
            return CONTINUE;
        }
        self.ended(&s.work.response.headers, s);
        let told = s.work.response.headers.get(K::ContentType).unwrap_or_default();
        self.foreign = !end && !told.starts_with(b"application/grpc");
        if !self.text_response && !self.foreign {
            s.ignore(Phases::RESPONSE_DATA);
        }
        let kind: &[u8] = if self.text_response {
            b"application/grpc-web-text+proto"
        } else {
            b"application/grpc-web+proto"
        };
        let headers = &mut s.work.response.headers;
        headers.set(K::ContentType, kind);
        headers.remove(K::ContentLength);
        Poll::Ready(if self.foreign { Step::Stop } else { Step::Continue })
    }

    fn poll_response_data(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
        end: bool,
    ) -> Poll<Step> {
        if self.foreign {
            self.keep_message(data);
            if end {
                self.tell_status(&mut s.work.response);
            }
            return Poll::Ready(Step::Stop);
        }
        let mut out = Vec::new();
        for chunk in data.drain() {
            let mut rest: &[u8] = &chunk;
            while !rest.is_empty() {
                let (taken, piece) = self.frames.next(rest);
                let (bytes, after) = rest.split_at_checked(taken).unwrap_or_default();
                self.unencoded.extend_from_slice(bytes);
                rest = after;
                let empty = matches!(piece, Some(Piece::Start(Prefix { len: 0, .. })));
                if empty || matches!(piece, Some(Piece::Data { end: true, .. })) {
                    base64::encode(&self.unencoded, &mut out);
                    self.unencoded.clear();
                }
            }
        }
        data.push(Chunk::copy_from(&out));
        CONTINUE
    }

    fn poll_response_trailers(
        &mut self,
        _: &mut Context<'_>,
        _: &Config,
        s: &mut StreamCx<'_>,
        data: &mut Chain,
    ) -> Poll<Step> {
        if self.foreign {
            self.tell_status(&mut s.work.response);
            return CONTINUE;
        }
        self.ended(&s.work.response_trailers, s);
        let frame = trailers_frame(&s.work.response_trailers);
        s.work.response_trailers.clear();
        if self.text_response {
            let mut out = Vec::new();
            base64::encode(&frame, &mut out);
            data.push(Chunk::copy_from(&out));
        } else {
            data.push(Chunk::copy_from(&frame));
        }
        CONTINUE
    }
}

impl Filter {
    fn ended(&self, headers: &HeaderMap, s: &StreamCx<'_>) {
        if let (Some(call), Some(status)) = (&self.call, headers.get(K::GrpcStatus)) {
            call.ended(&s.conn.shard.late, status);
        }
    }

    /// Keeps a body that is no gRPC, as much as goes into a header.
    fn keep_message(&mut self, data: &mut Chain) {
        for chunk in data.drain() {
            let room = MESSAGE_MAX.saturating_sub(self.unencoded.len()).min(chunk.len());
            self.unencoded.extend_from_slice(chunk.get(..room).unwrap_or_default());
        }
    }

    /// Makes an answer that is no gRPC into a status a gRPC client understands.
    fn tell_status(&self, response: &mut ResponseHead) {
        let mut message = Vec::new();
        grpc::encode_message(&self.unencoded, &mut message);
        let headers = &mut response.headers;
        headers.set(K::GrpcMessage, &message);
        let status = grpc::Status::of_http(response.status);
        headers.set(K::GrpcStatus, status.digits().as_bytes());
        headers.set(K::ContentLength, b"0");
    }
}

/// Whether a media type is gRPC-Web, and then whether it is its text form.
fn web_type(value: &[u8]) -> Option<bool> {
    match value {
        b"application/grpc-web" | b"application/grpc-web+proto" => Some(false),
        b"application/grpc-web-text" | b"application/grpc-web-text+proto" => Some(true),
        _ => None,
    }
}

fn bad_text(details: &'static str) -> Step {
    LocalReply::new(400, "Bad gRPC-web request, invalid base64 data.", details).into()
}

/// Trailers as `name:value` lines in a frame of their own.
fn trailers_frame(trailers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::with_capacity(trailers.byte_size() + 3 * trailers.len());
    for (name, value) in trailers.iter() {
        lines.extend_from_slice(name);
        lines.push(b':');
        lines.extend_from_slice(value);
        lines.extend_from_slice(b"\r\n");
    }
    let mut frame = Vec::with_capacity(lines.len() + grpc::PREFIX_LEN);
    grpc::encode_frame(Prefix::TRAILERS, &lines, &mut frame);
    frame
}
