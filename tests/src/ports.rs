//! TCP ports for proxies under test. They are written into a configuration before the proxy binds
//! them, so they lie below the kernel's ephemeral range, in a block chosen by the process id: tests
//! that run at the same time do not take each other's.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 18_000;
const BLOCKS: u16 = 437;
const BLOCK: u16 = 32;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port nobody listens on now.
///
/// # Panics
/// When no port of a thousand tried is free.
#[must_use]
pub fn free() -> u16 {
    let block = (std::process::id() % u32::from(BLOCKS)) as u16;
    for _ in 0..1000 {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % (BLOCKS * BLOCK);
        let port = FIRST + (block * BLOCK + offset) % (BLOCKS * BLOCK);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free TCP port between {FIRST} and {}", FIRST + BLOCKS * BLOCK);
}
