//! A peer that speaks single frames, right or wrong.

use ringway_wire::http1::Sink;
use ringway_wire::http2::{Decoder, Encoder, Event, HeaderBlock, Limits, PREFACE, Role, frame};

use super::*;

/// One end of a connection without a session.
pub(super) struct Peer {
    pub(super) stream: Stream,
    encoder: Encoder,
    decoder: Decoder,
    block: HeaderBlock,
    inbox: Vec<u8>,
    out: Bytes,
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn reserve(&mut self, bytes: usize) {
        self.0.reserve(bytes);
    }
}

/// What the session answered with, as far as tests ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// HEADERS: stream, status, end.
    Head(u32, u16, bool),
    /// DATA: stream, bytes, end.
    Data(u32, usize, bool),
    Reset(u32, ErrorCode),
    GoAway(u32, ErrorCode),
    Pong([u8; 8]),
    WindowUpdate(u32, u32),
    SettingsAck,
    /// The connection is closed.
    Closed,
}

impl Peer {
    /// A client that has greeted: preface and empty settings.
    pub(super) fn client(stream: Stream) -> Self {
        let mut peer = Self {
            stream,
            encoder: Encoder::new(),
            decoder: Decoder::new(Role::Client, Limits::default()),
            block: HeaderBlock::new(),
            inbox: Vec::new(),
            out: Bytes::default(),
        };
        peer.out.put(PREFACE);
        frame::settings(std::iter::empty(), &mut peer.out);
        peer
    }

    /// Sends what was said.
    pub(super) fn send(&mut self) {
        self.stream.write(Chunk::from(std::mem::take(&mut self.out.0)));
    }

    /// A frame as it is.
    pub(super) fn raw(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        let kind = frame::Kind(kind);
        let header = frame::FrameHeader { len: payload.len() as u32, kind, flags, stream };
        self.out.put(&header.bytes());
        self.out.put(payload);
        self
    }

    pub(super) fn get(&mut self, stream: u32) -> &mut Self {
        self.head(stream, &request(Method::Get, "/"), true)
    }

    /// A request whose body is to follow.
    pub(super) fn post(&mut self, stream: u32, length: Option<&str>) -> &mut Self {
        let mut head = request(Method::Post, "/");
        if let Some(length) = length {
            head.headers.append("content-length", length.as_bytes());
        }
        self.head(stream, &head, false)
    }

    pub(super) fn head(&mut self, stream: u32, head: &RequestHead, end: bool) -> &mut Self {
        self.encoder.request_head(stream, head, None, end, 16_384, &mut self.out);
        self
    }

    pub(super) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> &mut Self {
        self.raw(0, u8::from(end), stream, bytes)
    }

    pub(super) fn reset(&mut self, stream: u32) -> &mut Self {
        frame::rst_stream(stream, ErrorCode::CANCEL, &mut self.out);
        self
    }

    pub(super) fn window_update(&mut self, stream: u32, increment: u32) -> &mut Self {
        self.raw(8, 0, stream, &increment.to_be_bytes())
    }

    pub(super) fn setting(&mut self, id: u16, value: u32) -> &mut Self {
        let mut payload = id.to_be_bytes().to_vec();
        payload.extend(value.to_be_bytes());
        self.raw(4, 0, 0, &payload)
    }

    pub(super) fn settings_ack(&mut self) -> &mut Self {
        self.raw(4, 1, 0, &[])
    }

    pub(super) fn ping(&mut self, payload: &[u8; 8]) -> &mut Self {
        self.raw(6, 0, 0, payload)
    }

    /// The next thing the session says, of those a test asks about.
    pub(super) async fn hear(&mut self) -> Said {
        loop {
            let step = self.decoder.decode(&self.inbox, &mut self.block);
            if let Some(step) = step.expect("a session speaks the protocol") {
                let said = self.said(&step.event);
                self.inbox.drain(..step.consumed);
                match said {
                    Some(said) => return said,
                    None => continue,
                }
            }
            match self.stream.recv().await {
                Ok(Some(chunk)) => self.inbox.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return Said::Closed,
            }
        }
    }

    fn said(&mut self, event: &Event) -> Option<Said> {
        Some(match event {
            Event::Headers { stream, end, .. } => {
                let mut head = ResponseHead::default();
                self.block.into_response(&mut head, *end).expect("a valid response");
                Said::Head(*stream, head.status, *end)
            }
            Event::Data { stream, data, end, .. } => Said::Data(*stream, data.len(), *end),
            Event::Reset { stream, code } => Said::Reset(*stream, *code),
            Event::GoAway { last, code, .. } => Said::GoAway(*last, *code),
            Event::Ping { ack: true, payload } => Said::Pong(*payload),
            Event::WindowUpdate { stream, increment } => Said::WindowUpdate(*stream, *increment),
            Event::SettingsAck => Said::SettingsAck,
            _ => return None,
        })
    }

    /// Hears until something that fits is said.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Said) -> bool) -> Said {
        loop {
            let said = self.hear().await;
            if wanted(&said) || said == Said::Closed {
                return said;
            }
        }
    }

    /// The error the connection ends with.
    pub(super) async fn goaway(&mut self) -> Option<ErrorCode> {
        match self.until(|said| matches!(said, Said::GoAway(..))).await {
            Said::GoAway(_, code) => Some(code),
            _ => None,
        }
    }

    /// The error a stream ends with.
    pub(super) async fn stream_error(&mut self) -> Option<(u32, ErrorCode)> {
        match self.until(|said| matches!(said, Said::Reset(..) | Said::GoAway(..))).await {
            Said::Reset(stream, code) => Some((stream, code)),
            _ => None,
        }
    }
}
