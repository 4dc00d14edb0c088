//! Buffers: pooled memory ([`BufMut`] while it is written, [`Chunk`] once it is shared) and lists
//! of it ([`Chain`]).
//!
//! One layout serves every kind of memory: a small header, then the bytes. The header counts the
//! slices without atomics (nothing here leaves its thread), says where the memory goes when the
//! last slice is dropped, and sits in front of the bytes so that a buffer is one allocation.

mod chain;
mod chunk;
mod header;
mod pool;
mod ring;
#[cfg(test)]
mod tests;
mod write;

pub use chain::Chain;
pub use chunk::Chunk;
pub(crate) use header::Raw;
pub use pool::BufferConfig;
pub(crate) use pool::Pool;
pub(crate) use ring::BufRing;
pub use write::BufMut;
