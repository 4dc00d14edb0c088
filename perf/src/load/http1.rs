//! One HTTP/1.1 connection of the generator.

use super::link::Link;
use super::tally::Failure;
use ringway_runtime::Chunk;
use ringway_wire::http1::{
    BodyDecoder, BodyKind, HeadLimits, ParseOptions, ParsedHead, parse_response,
};
use ringway_wire::{Method, ResponseHead};

/// What came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Of the final response.
    pub(super) status: u16,
    /// Whether the connection can be used again.
    pub(super) keep_alive: bool,
    /// Bytes received, heads included.
    pub(super) bytes: u64,
}

/// A connection, and what was read of it too early.
pub(super) struct Http1 {
    pub(super) link: Link,
    method: Method,
    rest: Chunk,
    /// The start of a head that has not come whole.
    unread: Vec<u8>,
    /// The last head: one that repeats it needs no parsing.
    last: Vec<u8>,
    last_parsed: Option<(u16, ParsedHead)>,
}

impl Http1 {
    /// Speaks HTTP/1.1 over `link`; requests have this method.
    pub(super) fn new(link: Link, method: Method) -> Self {
        Self {
            link,
            method,
            rest: Chunk::new(),
            unread: Vec::new(),
            last: Vec::new(),
            last_parsed: None,
        }
    }

    /// Reads the answer, interim responses before it included.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        let mut bytes = 0;
        let (status, parsed) = loop {
            if self.rest.is_empty() {
                self.rest = self.receive().await?.ok_or(Failure::Closed)?;
            }
            let Some((status, parsed)) = self.take_head()? else { continue };
            bytes += parsed.head_len as u64;
            if status >= 200 {
                break (status, parsed);
            }
        };
        bytes += self.skip_body(parsed.body).await?;
        Ok(Answer { status, keep_alive: parsed.keep_alive, bytes })
    }

    /// Takes a head off what was received; `None` when it has not come whole.
    fn take_head(&mut self) -> Result<Option<(u16, ParsedHead)>, Failure> {
        if let Some(known) = self.last_parsed
            && self.unread.is_empty()
            && self.rest.starts_with(&self.last)
        {
            self.rest.advance(self.last.len());
            return Ok(Some(known));
        }
        let before = self.unread.len();
        if before > 0 {
            self.unread.extend_from_slice(&self.rest);
        }
        let bytes: &[u8] = if before > 0 { &self.unread } else { &self.rest };
        let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
        let mut head = ResponseHead::default();
        let parsed = parse_response(bytes, &limits, &options, &self.method, &mut head)
            .map_err(|_| Failure::Malformed)?;
        let Some(parsed) = parsed else {
            if before == 0 {
                self.unread.extend_from_slice(&self.rest);
            }
            self.rest = Chunk::new();
            return Ok(None);
        };
        let known = (head.status, parsed);
        self.last.clear();
        self.last.extend_from_slice(bytes.get(..parsed.head_len).unwrap_or_default());
        self.last_parsed = Some(known);
        self.rest.advance(parsed.head_len.saturating_sub(before));
        self.unread.clear();
        Ok(Some(known))
    }

    /// Reads a body to its end; returns its bytes, framing included.
    async fn skip_body(&mut self, kind: BodyKind) -> Result<u64, Failure> {
        let (limits, options) = (HeadLimits::RESPONSE, ParseOptions::default());
        let mut body = BodyDecoder::response(kind, &limits, &options);
        let mut bytes = 0;
        if let BodyKind::Length(length) = kind
            && length > self.rest.len() as u64
        {
            self.link.recv_hint(usize::try_from(length).unwrap_or(usize::MAX));
        }
        while !body.is_done() {
            if self.rest.is_empty() {
                match self.receive().await? {
                    Some(chunk) => self.rest = chunk,
                    None => {
                        body.finish().map_err(|_| Failure::Closed)?;
                        break;
                    }
                }
            }
            let step = body.decode(&self.rest).map_err(|_| Failure::Malformed)?;
            bytes += step.consumed as u64;
            self.rest.advance(step.consumed);
        }
        Ok(bytes)
    }

    async fn receive(&mut self) -> Result<Option<Chunk>, Failure> {
        self.link.recv().await.map_err(|_| Failure::Broken)
    }
}
