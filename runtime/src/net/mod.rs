//! Sockets: listeners, streams (TCP and unix), datagrams, messages between processes, and their
//! options.

mod addr;
mod listener;
pub(crate) mod options;
mod packet;
pub mod retire;
mod source;
mod splice;
mod stream;
mod udp;

pub use addr::{SockAddr, UnixAddr, address_of};
pub use listener::Listener;
pub use options::{ConnectOptions, Keepalive, ListenOptions, SocketOption};
pub use packet::{Packet, PacketListener, PacketSocket, PeerCredentials};
pub(crate) use source::Source;
pub(crate) use splice::Pipe;
pub use splice::{Splice, SpliceEnd, SpliceError, splice};
pub use stream::{Stream, TcpInfo, connect};
pub use udp::UdpSocket;
