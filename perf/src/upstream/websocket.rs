//! A WebSocket echo (RFC 6455): every message comes back frame by frame, pings are answered.
//!
//! LIFECYCLE: frames … until a close frame (answered), the peer's FIN, or a malformed frame.

use super::connection::QUEUED_MAX;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ringway_runtime::{BufMut, Chunk, Stream};
use std::io;

/// Largest payload of a frame; it has to be here whole before it goes back.
const PAYLOAD_MAX: u64 = 16 << 20;

/// What a key is joined with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The answer to a request for an upgrade with this `sec-websocket-key`.
pub(super) fn accept(key: &[u8]) -> Chunk {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        base64(hash.as_ref())
    );
    Chunk::from(head.into_bytes())
}

/// Sends back what comes; `first` came with the request.
pub(super) async fn serve(stream: &Stream, first: Chunk) -> io::Result<()> {
    let mut part: Vec<u8> = Vec::new();
    let mut input = first;
    loop {
        let mut out = BufMut::with_capacity(input.len() + part.len());
        let bytes: &[u8] = if part.is_empty() {
            &input
        } else {
            part.extend_from_slice(&input);
            &part
        };
        let (consumed, more) = echo_all(bytes, &mut out)?;
        let rest = bytes.get(consumed..).unwrap_or_default().to_vec();
        part = rest;
        if !out.is_empty() {
            stream.write(out.freeze());
        }
        if !more {
            return Ok(());
        }
        stream.queued_below(QUEUED_MAX).await?;
        let Some(chunk) = stream.recv().await? else { return Ok(()) };
        input = chunk;
    }
}

/// Answers every whole frame; says how many bytes they were, and whether more may come.
fn echo_all(bytes: &[u8], out: &mut BufMut) -> io::Result<(usize, bool)> {
    let mut at = 0;
    while let Some(frame) = Frame::parse(bytes.get(at..).unwrap_or_default())? {
        let start = at + frame.head_len;
        let Some(payload) = bytes.get(start..start + frame.len) else { break };
        at = start + frame.len;
        match frame.first & OPCODE {
            PONG => {}
            PING => write(out, frame.first & !OPCODE | PONG, frame.mask, payload),
            CLOSE => {
                write(out, frame.first, frame.mask, payload);
                return Ok((at, false));
            }
            _ => write(out, frame.first, frame.mask, payload),
        }
    }
    Ok((at, true))
}

/// The header of a client's frame.
struct Frame {
    /// FIN, reserved bits, opcode.
    first: u8,
    mask: [u8; 4],
    head_len: usize,
    len: usize,
}

impl Frame {
    /// `None` when it has not come whole.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let (Some(&first), Some(&second)) = (bytes.first(), bytes.get(1)) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a client has to mask"));
        }
        let (len, at) = match second & 0x7f {
            126 => match bytes.get(2..4).and_then(|two| two.try_into().ok()) {
                Some(two) => (u64::from(u16::from_be_bytes(two)), 4),
                None => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|eight| eight.try_into().ok()) {
                Some(eight) => (u64::from_be_bytes(eight), 10),
                None => return Ok(None),
            },
            len => (len.into(), 2),
        };
        if len > PAYLOAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame above 16 MB"));
        }
        let mask = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        Ok(mask.map(|mask| Self { first, mask, head_len: at + 4, len: len as usize }))
    }
}

/// Writes a frame of a server: not masked.
fn write(out: &mut BufMut, first: u8, mask: [u8; 4], payload: &[u8]) {
    out.put_u8(first);
    match payload.len() {
        len @ 0..126 => out.put_u8(len as u8),
        len if len <= 0xffff => {
            out.put_u8(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.put_u8(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if mask == [0; 4] {
        out.extend_from_slice(payload);
        return;
    }
    for part in payload.chunks(mask.len()) {
        for (byte, key) in part.iter().zip(mask) {
            out.put_u8(byte ^ key);
        }
    }
}

/// RFC 4648 §4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let value = three.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let value = value << (8 * (3 - three.len()));
        for digit in 0..4 {
            let index = (value >> (18 - 6 * digit)) & 63;
            let shown = digit <= three.len();
            out.push(if shown { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    out
}
