//! Connections to internal listeners (`envoy_internal_address`): between a cluster and a listener
//! of the same shard, without the network.
//!
//! Both ends are a pair of unix sockets, so that either side is a connection like any other: the
//! kernel keeps what is under way, and bounds it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ringway_runtime::Stream;
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::ShardCx;
use crate::plan::Host;
use crate::plan::transport::Internal;

/// What the listener's end is told of the connection, as `envoy.filters.listener.original_dst`
/// finds it there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Where the connection is to be taken to have been on its way.
    pub(crate) destination: Option<SocketAddr>,
    /// From where.
    pub(crate) source: Option<SocketAddr>,
    /// `waypoint` of the host's metadata, where `metadata_key` of an ORIGINAL_DST cluster finds
    /// whom to connect to instead.
    pub(crate) waypoint: Option<SocketAddr>,
}

/// Takes in the listener's end of a connection; false if there is no such listener.
pub(crate) type TakeIn = dyn Fn(&str, Stream, Passed) -> bool;

impl super::Upstreams {
    /// How this shard's internal listeners are reached.
    pub(crate) fn set_internal(&self, take_in: Rc<TakeIn>) {
        *self.shard.internal.borrow_mut() = Some(take_in);
    }
}

impl ShardCx {
    /// Connects to an internal listener of this shard.
    ///
    /// # Errors
    /// There is none of that name, or no descriptors are left.
    pub(in crate::upstream) fn connect_internal(
        &self,
        listener: &str,
        host: &Host,
        options: Internal,
        passed: Passed,
    ) -> io::Result<Stream> {
        let take_in = self.internal.borrow().clone();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let take_in = take_in.ok_or_else(refused)?;
        let (near, far) = UnixStream::pair()?;
        if let Some(bytes) = options.buffer {
            // The kernel bounds what is under way by what its sender may have outstanding.
            for end in [&near, &far] {
                set_socket_send_buffer_size(end, bytes as usize)?;
            }
        }
        let (near, far) = (Stream::from_fd(OwnedFd::from(near))?, Stream::from_fd(far.into())?);
        let told = host.info.internal.as_deref().filter(|_| options.passes_destination);
        let told = told.copied().unwrap_or_default();
        let passed = Passed {
            destination: told.destination.or(passed.destination),
            source: passed.source,
            waypoint: told.waypoint,
        };
        if take_in(listener, far, passed) { Ok(near) } else { Err(refused()) }
    }
}
