//! [`Encoder`]: heads and trailers to HEADERS and CONTINUATION frames.

use super::frame::{self, FrameHeader, HEADER_LEN, Kind};
use super::hpack;
use crate::chars::Decimal;
use crate::headers::HeaderMap;
use crate::http1::Sink;
use crate::message::{Method, RequestHead, ResponseHead, Scheme};
use crate::names::KnownName;

/// Writes the heads and trailers of one direction of a connection, in the order in which they are
/// sent: the peer decodes them with tables that change with each.
///
/// Headers that belong to HTTP/1.1 connections (`connection`, `keep-alive`, `proxy-connection`,
/// `transfer-encoding`, `upgrade`, `host`) are never written. Secrets (`authorization`,
/// `proxy-authorization`, `cookie`, `set-cookie`, and what came as never-indexed) stay out of the
/// compression tables.
#[derive(Debug, Default)]
pub struct Encoder {
    hpack: hpack::Encoder,
    /// The block being written, behind room for a frame header; kept for its capacity.
    block: Vec<u8>,
}

/// Capacity of the block buffer that is kept between blocks, in bytes.
const BLOCK_KEPT: usize = 4096;

impl Encoder {
    /// An encoder at the start of a connection; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether strings may be Huffman-coded (`enable_huffman_encoding`); they are, unless this is
    /// called.
    pub fn set_huffman(&mut self, on: bool) {
        self.hpack.set_huffman(on);
    }

    /// The peer's `SETTINGS_HEADER_TABLE_SIZE`: `least` is the smallest and `last` the last value
    /// in one SETTINGS frame ([`SettingsChange`](super::SettingsChange) has both). Call it before
    /// the acknowledgement is sent. No more than 4096 bytes are used.
    pub fn set_peer_table_size(&mut self, least: u32, last: u32) {
        self.hpack.set_limit(least as usize, last as usize);
    }

    /// Writes the head of a request. `protocol` makes it an extended CONNECT (RFC 8441): the
    /// method then has to be CONNECT. `end`: nothing follows. `max_frame` is the peer's
    /// `max_frame_size`, in bytes.
    pub fn request_head(
        &mut self,
        stream: u32,
        head: &RequestHead,
        protocol: Option<&[u8]>,
        end: bool,
        max_frame: u32,
        out: &mut impl Sink,
    ) {
        self.begin();
        let (hpack, block) = (&mut self.hpack, &mut self.block);
        match head.method {
            Method::Get => hpack.row(2, block),
            Method::Post => hpack.row(3, block),
            ref other => hpack.known(KnownName::Method, other.as_bytes(), block),
        }
        if head.method != Method::Connect || protocol.is_some() {
            let https = head.scheme == Some(Scheme::Https);
            hpack.row(if https { 7 } else { 6 }, block);
            match head.path.as_slice() {
                b"/" => hpack.row(4, block),
                path => hpack.known(KnownName::Path, path, block),
            }
        }
        hpack.known(KnownName::Authority, &head.authority, block);
        if let Some(protocol) = protocol {
            hpack.known(KnownName::Protocol, protocol, block);
        }
        self.finish(&head.headers, stream, end, max_frame, out);
    }

    /// Writes the head of a response, interim ones too.
    pub fn response_head(
        &mut self,
        stream: u32,
        head: &ResponseHead,
        end: bool,
        max_frame: u32,
        out: &mut impl Sink,
    ) {
        self.begin();
        let (hpack, block) = (&mut self.hpack, &mut self.block);
        match head.status {
            200 => hpack.row(8, block),
            204 => hpack.row(9, block),
            206 => hpack.row(10, block),
            304 => hpack.row(11, block),
            400 => hpack.row(12, block),
            404 => hpack.row(13, block),
            500 => hpack.row(14, block),
            other => {
                let digits = Decimal::new(u64::from(other));
                hpack.known(KnownName::Status, digits.as_bytes(), block);
            }
        }
        self.finish(&head.headers, stream, end, max_frame, out);
    }

    /// Writes trailers; the stream ends with them.
    pub fn trailers(
        &mut self,
        stream: u32,
        trailers: &HeaderMap,
        max_frame: u32,
        out: &mut impl Sink,
    ) {
        self.begin();
        self.finish(trailers, stream, true, max_frame, out);
    }

    fn begin(&mut self) {
        self.block.clear();
        self.block.extend_from_slice(&[0; HEADER_LEN]);
        self.hpack.begin(&mut self.block);
    }

    /// Adds the headers and writes the block in as many frames as it needs.
    fn finish(
        &mut self,
        headers: &HeaderMap,
        stream: u32,
        end: bool,
        max_frame: u32,
        out: &mut impl Sink,
    ) {
        for line in headers.lines() {
            self.hpack.line(&line, &mut self.block);
        }
        let max_frame = max_frame.max(1) as usize;
        let whole = self.block.len() - HEADER_LEN <= max_frame;
        let first = self.block.len().min(HEADER_LEN + max_frame);
        let end_headers = if whole { frame::END_HEADERS } else { 0 };
        let header = FrameHeader {
            len: (first - HEADER_LEN) as u32,
            kind: Kind::HEADERS,
            flags: end_headers | if end { frame::END_STREAM } else { 0 },
            stream,
        };
        if let Some(room) = self.block.first_chunk_mut() {
            *room = header.bytes();
        }
        let (frame, mut rest) = self.block.split_at(first);
        out.put(frame);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(max_frame));
            let flags = if later.is_empty() { frame::END_HEADERS } else { 0 };
            let len = now.len() as u32;
            out.put(&FrameHeader { len, kind: Kind::CONTINUATION, flags, stream }.bytes());
            out.put(now);
            rest = later;
        }
        if self.block.capacity() > BLOCK_KEPT {
            self.block = Vec::new();
        }
    }
}
