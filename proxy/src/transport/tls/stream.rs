//! [`TlsStream`]: a TLS connection after its handshake.
//!
//! LIFECYCLE: open → the peer's close_notify or FIN ends reading, [`TlsStream::shutdown_write`]
//! ends writing, in any order → dropped. An error ends both; it sticks, and the alert that tells
//! the peer is on its way by then.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_runtime::{self as runtime, BufMut, Chain, Chunk};
use smallvec::SmallVec;

use super::info::TlsInfo;
use super::post::{Fault, Session};
use super::record::{self, Bad, HEADER, PLAIN_FULL, content};

/// Bytes of the largest buffer that records are sealed into: four full records.
const OUT_MAX: usize = 64 << 10;
/// Slices that are put together into one record.
const PARTS_MAX: usize = 16;

/// A TLS connection. The methods mean what those of [`runtime::Stream`] mean, in plain bytes; only
/// [`TlsStream::queued`] counts what is on the wire.
pub(crate) struct TlsStream {
    raw: runtime::Stream,
    info: Rc<TlsInfo>,
    state: RefCell<State>,
}

struct State {
    session: Session,
    /// Opened and not yet read.
    plain: Chain,
    /// The beginning of a record whose end has not come.
    partial: BufMut,
    /// The peer has said its last.
    ended: bool,
    /// We have.
    shut: bool,
    error: Option<Fault>,
}

impl TlsStream {
    pub(super) fn new(raw: runtime::Stream, info: Rc<TlsInfo>, session: Session) -> Self {
        let state = State {
            session,
            plain: Chain::new(),
            partial: BufMut::new(),
            ended: false,
            shut: false,
            error: None,
        };
        Self { raw, info, state: RefCell::new(state) }
    }

    /// The peer has ended with close_notify.
    #[cfg(test)]
    pub(super) fn said_goodbye(&self) -> bool {
        self.state.borrow().session.peer_closed()
    }

    /// Renews the keys every so many records.
    #[cfg(test)]
    pub(super) fn wear_after(&self, records: u64) {
        self.state.borrow_mut().session.wear_after(records);
    }

    /// The connection below.
    pub(crate) fn raw(&self) -> &runtime::Stream {
        &self.raw
    }

    /// Facts of the session.
    pub(crate) fn info(&self) -> &Rc<TlsInfo> {
        &self.info
    }

    /// The next plain bytes.
    ///
    /// # Errors
    /// Of the connection; `InvalidData` where the peer broke the protocol; `UnexpectedEof` where
    /// its FIN cut a record short.
    pub(crate) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        loop {
            if let Some(ready) = self.take() {
                return Poll::Ready(ready);
            }
            match self.raw.poll_recv(cx) {
                Poll::Ready(received) => self.received(received),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What is here already.
    pub(crate) fn try_recv(&self) -> Option<io::Result<Option<Chunk>>> {
        loop {
            if let Some(ready) = self.take() {
                return Some(ready);
            }
            self.received(self.raw.try_recv()?);
        }
    }

    /// The peer's end, or an error, has been seen.
    pub(crate) fn readable_closed(&self) -> bool {
        let state = self.state.borrow();
        state.ended || state.error.is_some() || self.raw.readable_closed()
    }

    /// Ready when there are plain bytes, the peer's end or an error.
    pub(crate) fn poll_closed_or_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            {
                let state = self.state.borrow();
                if !state.plain.is_empty() || state.ended || state.error.is_some() {
                    return Poll::Ready(());
                }
            }
            if self.raw.poll_closed_or_readable(cx).is_pending() {
                return Poll::Pending;
            }
            // It may be a session ticket only, which is nothing to the reader.
            if let Some(received) = self.raw.try_recv() {
                self.received(received);
            }
        }
    }

    /// Puts plain bytes back.
    pub(crate) fn unread(&self, chunk: Chunk) {
        self.state.borrow_mut().plain.push_front(chunk);
    }

    /// Queues plain bytes as one record, or as many as they need.
    pub(crate) fn write(&self, chunk: Chunk) {
        let mut state = self.state.borrow_mut();
        if state.shut || state.error.is_some() {
            return;
        }
        let mut rest = &*chunk;
        while !rest.is_empty() {
            let mut out = BufMut::with_capacity(out_len(rest.len()));
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PLAIN_FULL));
                if !self.seal(&mut state, &[now], &mut out) {
                    break;
                }
                rest = later;
            }
            if out.is_empty() {
                return;
            }
            self.raw.write(out.freeze());
        }
    }

    /// Queues several pieces; small ones share a record.
    pub(crate) fn write_chain(&self, mut chain: Chain) {
        while let Some(front) = chain.front() {
            if front.len() >= PLAIN_FULL || chain.count() == 1 {
                if let Some(chunk) = chain.pop_front() {
                    self.write(chunk);
                }
                continue;
            }
            let batch = chain.split_to(PLAIN_FULL);
            let mut state = self.state.borrow_mut();
            if state.shut || state.error.is_some() {
                return;
            }
            let parts: SmallVec<[&[u8]; PARTS_MAX]> = batch.iter().map(|chunk| &**chunk).collect();
            let mut out = BufMut::with_capacity(out_len(batch.len()));
            if self.seal(&mut state, &parts, &mut out) {
                self.raw.write(out.freeze());
            }
        }
    }

    /// Says goodbye to the peer, then sends a FIN. Reading goes on.
    pub(crate) fn shutdown_write(&self) {
        let mut state = self.state.borrow_mut();
        if !state.shut && state.error.is_none() {
            state.shut = true;
            if let Some(alert) = state.session.close_notify() {
                self.raw.write(alert);
            }
        }
        self.raw.shutdown_write();
    }

    /// Closes the connection with a reset: no goodbye.
    pub(crate) fn reset(mut self) {
        self.state.get_mut().shut = true;
        self.raw.reset_when_dropped();
    }

    /// Seals one record into what is free of `out`; false where it does not fit. Keys that wear
    /// out are renewed.
    fn seal(&self, state: &mut State, parts: &[&[u8]], out: &mut BufMut) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        if state.session.sealer.sealed_len(len) > out.capacity() - out.len() {
            return false;
        }
        match state.session.renew_before_wear() {
            Ok(Some(update)) => {
                // Records of the old keys go first.
                let old = std::mem::take(out);
                out.reserve(old.capacity());
                self.raw.write(old.freeze());
                self.raw.write(update);
            }
            Ok(None) => {}
            Err(fault) => {
                state.error = Some(fault);
                return false;
            }
        }
        let sealed = state.session.sealer.seal(content::DATA, parts, out.spare());
        sealed.inspect(|&len| out.advance(len)).is_some()
    }

    /// What the reader gets now, if anything.
    fn take(&self) -> Option<io::Result<Option<Chunk>>> {
        let mut state = self.state.borrow_mut();
        if let Some(chunk) = state.plain.pop_front() {
            return Some(Ok(Some(chunk)));
        }
        match &state.error {
            Some(fault) => Some(Err(fault.to_io())),
            None => state.ended.then_some(Ok(None)),
        }
    }

    /// Takes in what the connection brought.
    fn received(&self, received: io::Result<Option<Chunk>>) {
        let mut state = self.state.borrow_mut();
        let result = match received {
            Ok(Some(chunk)) => state.open(chunk, &self.raw),
            Ok(None) if !state.partial.is_empty() => Err(Fault::Truncated),
            // Many peers end without close_notify, and Envoy takes that for an end as well.
            Ok(None) => {
                state.ended = true;
                Ok(())
            }
            Err(error) => Err(Fault::Io(error.kind())),
        };
        if let Err(fault) = result
            && state.error.is_none()
        {
            if let Some(alert) = fault.alert()
                && !state.shut
                && let Some(sealed) = state.session.alert(alert)
            {
                self.raw.write(sealed);
            }
            state.shut = true;
            state.error = Some(fault);
        }
    }
}

/// Buffer for records of `plain` bytes.
fn out_len(plain: usize) -> usize {
    let records = plain.div_ceil(PLAIN_FULL);
    (plain + records * (record::PLAIN_MAX - PLAIN_FULL)).min(OUT_MAX)
}

/// Where the content of an opened record lies.
struct Piece {
    start: usize,
    len: usize,
}

impl State {
    /// Opens every record that is complete, in place where nobody shares the buffer.
    fn open(&mut self, mut chunk: Chunk, raw: &runtime::Stream) -> Result<(), Fault> {
        while !self.partial.is_empty() && !chunk.is_empty() {
            self.complete_partial(&mut chunk, raw)?;
        }
        if chunk.is_empty() || self.ended {
            return Ok(());
        }
        if let Some(bytes) = chunk.try_mut() {
            let mut pieces: SmallVec<[Piece; 8]> = SmallVec::new();
            let opened = self.open_all(bytes, raw, &mut pieces);
            for piece in &pieces {
                self.plain.push(chunk.slice(piece.start..piece.start + piece.len));
            }
            let used = opened?;
            if !self.ended {
                self.keep_partial(chunk.get(used..).unwrap_or_default());
            }
            return Ok(());
        }
        // Somebody holds a part of the buffer: go on in a copy.
        let copy = Chunk::copy_from(&chunk);
        self.open(copy, raw)
    }

    /// Opens complete records of `bytes`; answers how many bytes they took.
    fn open_all(
        &mut self,
        bytes: &mut [u8],
        raw: &runtime::Stream,
        pieces: &mut SmallVec<[Piece; 8]>,
    ) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let Some(len) = record::record_len(rest)? else { return Ok(at) };
            let Some(one) = rest.get_mut(..len) else { return Ok(at) };
            let opened = self.session.open(one)?;
            let content = one.get(opened.start..opened.start + opened.len).unwrap_or_default();
            if opened.kind == content::DATA {
                self.session.data(content.len())?;
                pieces.push(Piece { start: at + opened.start, len: opened.len });
            } else {
                self.session.control(opened.kind, content, raw)?;
                if self.session.peer_closed() {
                    self.ended = true;
                    return Ok(bytes.len());
                }
            }
            at += len;
        }
    }

    fn keep_partial(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let need = record::record_len(rest).ok().flatten().unwrap_or(HEADER);
        self.partial = BufMut::with_capacity(need.max(rest.len()));
        self.partial.extend_from_slice(rest);
    }

    /// Adds to the record that has begun, and opens it once it is whole.
    fn complete_partial(&mut self, chunk: &mut Chunk, raw: &runtime::Stream) -> Result<(), Fault> {
        let need = record::record_len(&self.partial)?.unwrap_or(HEADER);
        let take = need.saturating_sub(self.partial.len()).min(chunk.len());
        self.partial.reserve(need.saturating_sub(self.partial.len()));
        self.partial.extend_from_slice(&chunk.split_to(take));
        if record::record_len(&self.partial)?.is_none_or(|len| self.partial.len() < len) {
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.partial);
        let mut pieces = SmallVec::new();
        let opened = self.open_all(&mut whole, raw, &mut pieces);
        let whole = whole.freeze();
        for piece in &pieces {
            self.plain.push(whole.slice(piece.start..piece.start + piece.len));
        }
        opened.map(drop)
    }
}

impl From<Bad> for Fault {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::Overflow => Self::Overflow,
            Bad::Mac => Self::Mac,
            Bad::Empty => Self::Unexpected("a record without content type"),
        }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        // Nothing may stand between the data and the goodbye, or the peer would take what it has
        // for all there was.
        if !state.shut
            && state.error.is_none()
            && self.raw.queued() == 0
            && let Some(alert) = state.session.close_notify()
        {
            self.raw.send_now(alert);
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("raw", &self.raw).finish_non_exhaustive()
    }
}
