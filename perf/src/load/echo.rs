//! A connection whose server sends back what it is sent: plain TCP, or WebSocket.

use super::http1::Answer;
use super::link::Link;
use super::tally::Failure;
use ringway_runtime::Chunk;
use ringway_wire::http1::{HeadLimits, ParseOptions, parse_response};
use ringway_wire::{Method, ResponseHead};
use std::io;

/// Largest WebSocket frame header of a server (RFC 6455 §5.2: no mask).
const HEADER_MAX: usize = 10;

/// A connection with one message at a time.
pub(super) struct Echo {
    pub(super) link: Link,
    /// Bytes that make an answer.
    expected: usize,
    /// What an answer begins with.
    begin: Vec<u8>,
    status: u16,
}

impl Echo {
    /// Expects as many bytes as are sent.
    pub(super) fn tcp(link: Link, message: &[u8]) -> Self {
        Self { link, expected: message.len(), begin: Vec::new(), status: 200 }
    }

    /// Upgrades to WebSocket; `frame` is what will be sent each time.
    ///
    /// # Errors
    /// That of the connection, or the answer is not 101.
    pub(super) async fn upgrade(mut link: Link, opening: &[u8], frame: &[u8]) -> io::Result<Self> {
        link.send(&Chunk::copy_from(opening))?;
        let mut received = Vec::new();
        let mut head = ResponseHead::default();
        let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
        loop {
            let chunk = link.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            received.extend_from_slice(&chunk);
            match parse_response(&received, &limits, &options, &Method::Get, &mut head) {
                Ok(None) => {}
                Ok(Some(_)) if head.status == 101 => break,
                Ok(Some(_)) => {
                    let text = format!("the upgrade was answered with {}", head.status);
                    return Err(io::Error::other(text));
                }
                Err(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        let begin = unmasked(frame).ok_or(io::ErrorKind::InvalidInput)?;
        // The mask has four bytes.
        let expected = frame.len().saturating_sub(4);
        Ok(Self { link, expected, begin, status: 101 })
    }

    /// Reads one answer to its last byte.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        self.link.recv_hint(self.expected);
        let mut left = self.expected;
        let mut begin = self.begin.as_slice();
        while left > 0 {
            let chunk = self.link.recv().await.map_err(|_| Failure::Broken)?;
            let chunk = chunk.ok_or(Failure::Closed)?;
            let common = begin.len().min(chunk.len());
            if chunk.get(..common) != begin.get(..common) {
                return Err(Failure::Malformed);
            }
            begin = begin.get(common..).unwrap_or_default();
            // Nobody answers what was not sent.
            left = left.checked_sub(chunk.len()).ok_or(Failure::Malformed)?;
        }
        Ok(Answer { status: self.status, keep_alive: true, bytes: self.expected as u64 })
    }
}

/// A binary frame of a client, with a mask of zeros: the payload goes as it is.
pub(super) fn masked_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len if len <= 0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The header a server's frame of the same length has.
fn unmasked(frame: &[u8]) -> Option<Vec<u8>> {
    let length = frame.get(1)? & 0x7f;
    let end = match length {
        126 => 4,
        127 => HEADER_MAX,
        _ => 2,
    };
    let mut header = frame.get(..end)?.to_vec();
    *header.get_mut(1)? &= 0x7f;
    Some(header)
}
