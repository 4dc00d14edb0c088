//! What is answered to which path.

use ringway_runtime::Chunk;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// Largest body that is kept ready; larger ones are sent block by block.
const READY_MAX: u64 = 1 << 20;
/// Most bodies kept ready.
const READY_COUNT: usize = 64;
/// Largest body at all.
const BODY_MAX: u64 = 1 << 30;

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// 200 or 404.
    pub(super) status: u16,
    /// Head and, unless `blocks` says more, body.
    pub(super) ready: Chunk,
    /// Bytes of `ready` that are the head: all that is sent for HEAD.
    pub(super) head_len: usize,
    /// Body bytes to send behind `ready`, from [`Replies::block`].
    pub(super) blocks: u64,
    /// Time to wait before sending it.
    pub(super) delay: Duration,
}

/// Answers made so far.
pub(super) struct Replies {
    by_size: RefCell<HashMap<u64, Reply>>,
    block: Chunk,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { by_size: RefCell::default(), block: Chunk::from(vec![b'x'; 256 << 10]) }
    }

    /// The answer to a path with its query.
    pub(super) fn find(&self, target: &[u8]) -> Reply {
        let (path, query) = match target.iter().position(|&byte| byte == b'?') {
            Some(at) => (&target[..at], target.get(at + 1..).unwrap_or_default()),
            None => (target, &[][..]),
        };
        let reply = match body_size(path) {
            Some(size) => self.of_size(size),
            None => not_found(),
        };
        Reply { delay: delay_in(query), ..reply }
    }

    /// Filler for bodies sent in blocks.
    pub(super) fn block(&self) -> Chunk {
        self.block.clone()
    }

    fn of_size(&self, size: u64) -> Reply {
        let mut by_size = self.by_size.borrow_mut();
        if let Some(reply) = by_size.get(&size) {
            return reply.clone();
        }
        let inline = if size <= READY_MAX { size } else { 0 };
        let reply = ready(200, "OK", size, &vec![b'x'; inline as usize]);
        if by_size.len() < READY_COUNT {
            by_size.insert(size, reply.clone());
        }
        reply
    }
}

fn not_found() -> Reply {
    let text = b"unknown path; there are /100b, /10k, /1m and /bytes/N, each with ?delay=MS\n";
    ready(404, "Not Found", text.len() as u64, text)
}

fn ready(status: u16, reason: &str, size: u64, body: &[u8]) -> Reply {
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain\r\nserver: ringway-perf\r\n\
         content-length: {size}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    let head_len = bytes.len();
    bytes.extend_from_slice(body);
    let blocks = size - body.len() as u64;
    Reply { status, ready: Chunk::from(bytes), head_len, blocks, delay: Duration::ZERO }
}

/// The size of the body asked for; the last one or two segments say it.
fn body_size(path: &[u8]) -> Option<u64> {
    let mut segments = path.rsplit(|&byte| byte == b'/');
    let last = segments.next()?;
    match last {
        b"100b" => Some(100),
        b"10k" => Some(10 << 10),
        b"1m" => Some(1 << 20),
        number if segments.next() == Some(b"bytes") => {
            std::str::from_utf8(number).ok()?.parse().ok().filter(|&size| size <= BODY_MAX)
        }
        _ => None,
    }
}

fn delay_in(query: &[u8]) -> Duration {
    let value = query.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(b"delay="));
    let millis: Option<u32> = value
        .and_then(|value| std::str::from_utf8(value).ok())
        .and_then(|value| value.parse().ok());
    Duration::from_millis(millis.unwrap_or(0).into())
}
