//! Thread-per-core runtime: tasks that never leave their thread, timers, pooled buffers, and
//! sockets driven by io_uring, epoll or a simulated network, all behind one interface.
//!
//! A [`Runtime`] belongs to the thread that made it. Functions and constructors of this crate mean
//! the *current* runtime: the one whose [`Runtime::block_on`], [`Runtime::turn`] or
//! [`Runtime::enter`] is running. The data plane's rules hold here: no locks, no atomics but in the
//! rings between threads, no allocation per request, and buffers belong to the kernel until its
//! completion says otherwise.
//!
//! This is the only crate of the workspace with `unsafe` code.

mod buf;
mod concurrency;
mod current;
mod driver;
pub mod file;
pub mod memory;
pub mod mesh;
mod net;
mod op;
mod rand;
mod shard;
pub mod signal;
pub mod sim;
mod task;
mod time;

pub use buf::{BufMut, BufferConfig, Chain, Chunk};
pub use concurrency::{Concurrency, Why, available_concurrency};
pub use mesh::{Mailbox, MeshEnd, mesh};
pub use net::retire;
pub use net::{
    ConnectOptions, Keepalive, ListenOptions, Listener, Packet, PacketListener, PacketSocket,
    PeerCredentials, SockAddr, SocketOption, Splice, SpliceEnd, SpliceError, Stream, TcpInfo,
    UdpSocket, UnixAddr, address_of, connect, splice,
};
pub use rand::{rand_below, rand_f64, rand_u64};
pub use shard::{Backend, Config, Level, Runtime, Turn, Usage, lower_priority};
pub use task::{Join, spawn, yield_now};
pub use time::{
    Elapsed, Instant, Sleep, Timeout, now, precise_now, sleep, sleep_until, timeout, unix_now,
};
