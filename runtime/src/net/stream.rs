//! [`Stream`]: one connection.

use super::{ConnectOptions, SockAddr};
use crate::buf::{Chain, Chunk};
use crate::current;
use crate::driver::Sock;
use crate::shard::Shared;
use socket2::SockRef;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Opens a connection. Dropping the future cancels the attempt and closes the socket.
///
/// # Errors
/// Those of `socket`, `setsockopt`, `bind` and `connect`. There is no time limit of its own: see
/// [`crate::timeout`].
pub async fn connect(addr: &SockAddr, opts: &ConnectOptions) -> io::Result<Stream> {
    let shared = current::shared();
    let index = shared.io.borrow_mut().connect(addr, opts)?;
    let stream = Stream { shared, index };
    poll_fn(|cx| stream.shared.io.borrow_mut().poll_connect(index, cx)).await?;
    Ok(stream)
}

/// A connected TCP or unix stream socket.
///
/// All methods take `&self`: one task, or two, can read and write at once. Reading and writing have
/// a waker each; the last one to poll a direction is woken. While it is idle it holds no buffer.
/// Dropping it closes the connection; queued data that has not been sent is dropped with it.
pub struct Stream {
    shared: Rc<Shared>,
    index: u32,
}

/// Figures of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round trip time.
    pub rtt: Duration,
    /// Its variation.
    pub rtt_var: Duration,
    /// Segments retransmitted so far.
    pub retransmits: u32,
    /// Congestion window, in segments.
    pub congestion_window: u32,
}

impl Stream {
    /// Wraps a connected stream socket, such as one another shard has let go of.
    ///
    /// # Errors
    /// When the descriptor cannot be registered with the driver.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let shared = current::shared();
        // The driver's need: epoll asks per call, io_uring must be allowed to wait.
        rustix::io::ioctl_fionbio(&fd, shared.io.borrow().wants_nonblocking())?;
        let index = shared.io.borrow_mut().add_stream(fd)?;
        Ok(Self { shared, index })
    }

    pub(crate) fn from_index(shared: Rc<Shared>, index: u32) -> Self {
        Self { shared, index }
    }

    /// The next received data; `None` once the peer has sent its FIN and all was read.
    ///
    /// # Errors
    /// That of the connection (reset, timed out): every later call returns it too.
    pub async fn recv(&self) -> io::Result<Option<Chunk>> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Stream::recv`] for hand-written futures.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Chunk>>> {
        self.shared.io.borrow_mut().poll_recv(self.index, cx)
    }

    /// What has arrived already; `None` when nothing has. Never waits.
    pub fn try_recv(&self) -> Option<io::Result<Option<Chunk>>> {
        self.shared.io.borrow_mut().try_recv(self.index)
    }

    /// Says that about `expect_bytes` are coming: above 64 KB the driver receives into large
    /// buffers until they have come. 0 goes back to normal.
    pub fn recv_hint(&self, expect_bytes: usize) {
        self.shared.io.borrow_mut().recv_hint(self.index, expect_bytes);
    }

    /// Whether the peer's FIN or an error has been seen, without a system call. A stream that
    /// someone polls for reading stays armed, so a pooled connection's state is known.
    pub fn readable_closed(&self) -> bool {
        let io = self.shared.io.borrow();
        let slot = &io.streams[self.index as usize];
        slot.eof || slot.hangup || slot.recv_error != 0
    }

    /// Ready when there is data, the peer's FIN or an error to [`Stream::try_recv`]: what wakes
    /// the guard of an idle pooled connection.
    pub fn poll_closed_or_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.io.borrow_mut().poll_readable(self.index, cx)
    }

    /// Puts data back in front of what [`Stream::recv`] returns next.
    pub fn unread(&self, chunk: Chunk) {
        self.shared.io.borrow_mut().streams[self.index as usize].recv.push_front(chunk);
    }

    /// Bytes received but unread after which receiving is suspended until they are read.
    /// 256 KB unless set.
    pub fn set_recv_limit(&self, bytes: usize) {
        self.shared.io.borrow_mut().streams[self.index as usize].recv_limit = bytes.max(1);
    }

    /// Queues data. All that is queued by the end of the turn leaves in one send. Never blocks;
    /// [`Stream::queued`] is for back-pressure.
    pub fn write(&self, chunk: Chunk) {
        self.shared.io.borrow_mut().write(self.index, chunk);
    }

    /// Queues several chunks, in order.
    pub fn write_chain(&self, chain: Chain) {
        self.shared.io.borrow_mut().write_chain(self.index, chain);
    }

    /// Bytes queued that the kernel has not accepted.
    pub fn queued(&self) -> usize {
        self.shared.io.borrow().streams[self.index as usize].queued()
    }

    /// Ready once no more than `below` bytes are queued; with 0, once all was handed to the kernel.
    ///
    /// # Errors
    /// The error that ended writing, in this and every later call. What was queued is gone then.
    pub fn poll_queued_below(&self, cx: &mut Context<'_>, below: usize) -> Poll<io::Result<()>> {
        self.shared.io.borrow_mut().poll_queued_below(self.index, cx, below)
    }

    /// [`Stream::poll_queued_below`] as a future.
    ///
    /// # Errors
    /// The error that ended writing.
    pub async fn queued_below(&self, below: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_queued_below(cx, below)).await
    }

    /// Waits until all that is queued was handed to the kernel.
    ///
    /// # Errors
    /// The error that ended writing.
    pub async fn flush(&self) -> io::Result<()> {
        self.queued_below(0).await
    }

    /// The error that ended writing, if any.
    pub fn write_error(&self) -> Option<io::ErrorKind> {
        match self.shared.io.borrow().streams[self.index as usize].write_error {
            0 => None,
            errno => Some(io::Error::from_raw_os_error(errno).kind()),
        }
    }

    /// Sends a FIN after all that is queued; later writes are dropped. Reading goes on.
    pub fn shutdown_write(&self) {
        self.shared.io.borrow_mut().shutdown_write(self.index);
    }

    /// Sends a few last bytes, if nothing is queued before them and the kernel takes them at once;
    /// drops them otherwise. For a goodbye right before the stream is dropped.
    pub fn send_now(&self, last: Chunk) {
        self.shared.io.borrow_mut().send_last(self.index, last);
    }

    /// Closes the connection. The same as dropping it.
    pub fn close(self) {}

    /// Closes the connection with a reset instead of a FIN.
    pub fn reset(self) {
        self.shared.io.borrow_mut().reset_stream(self.index);
    }

    /// Makes the drop of this stream a [`Stream::reset`].
    pub fn reset_when_dropped(&self) {
        self.shared.io.borrow_mut().reset_stream(self.index);
    }

    /// A number that tells this stream from every other living one of this runtime.
    pub fn id(&self) -> u64 {
        let io = self.shared.io.borrow();
        u64::from(io.streams[self.index as usize].generation) << 32 | u64::from(self.index)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// That of `getsockname`.
    pub fn local_addr(&self) -> io::Result<SockAddr> {
        self.shared.io.borrow().stream_addr(self.index, false)
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// That of `getpeername`: the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SockAddr> {
        self.shared.io.borrow().stream_addr(self.index, true)
    }

    /// Where the connection went before it was redirected to us (`SO_ORIGINAL_DST`).
    ///
    /// # Errors
    /// That of `getsockopt`: it was not redirected, or is no TCP connection.
    pub fn original_dst(&self) -> io::Result<SockAddr> {
        let simulated = self.shared.io.borrow().sim_original_dst(self.index);
        if let Some(original) = simulated {
            return original.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT));
        }
        self.with_socket(|socket| {
            let v6 = socket.local_addr()?.is_ipv6();
            let dst = if v6 { socket.original_dst_v6() } else { socket.original_dst_v4() };
            Ok(SockAddr::from_raw(&dst?))
        })
    }

    /// Sets `TCP_NODELAY`.
    ///
    /// # Errors
    /// That of `setsockopt`.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        if let Sock::Sim(_) = self.shared.io.borrow().streams[self.index as usize].sock {
            return Ok(());
        }
        self.with_socket(|socket| socket.set_tcp_nodelay(on))
    }

    /// Figures of the connection, by a system call.
    ///
    /// # Errors
    /// That of `getsockopt`: it is no TCP connection.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        self.with_socket(|socket| tcp_info(&socket))
    }

    /// Takes the descriptor out, for another shard or process, right after it was accepted. A
    /// stream that has been read from or written to takes [`Stream::into_fd`].
    ///
    /// # Errors
    /// `WouldBlock` while the kernel works on something of this stream (which is closed then).
    pub fn take_fd(self) -> io::Result<OwnedFd> {
        self.shared.io.borrow_mut().take_stream(self.index)
    }

    /// Stops receiving, waits until all that is queued was sent, and takes the descriptor out,
    /// together with what was received and not read: for handing a connection in use to another
    /// shard or process.
    ///
    /// # Errors
    /// The error that ended writing, or that of the connection.
    pub async fn into_fd(self) -> io::Result<(OwnedFd, Chain)> {
        poll_fn(|cx| self.poll_recv_stopped(cx)).await;
        self.flush().await?;
        let received = {
            let mut io = self.shared.io.borrow_mut();
            std::mem::take(&mut io.streams[self.index as usize].recv)
        };
        Ok((self.take_fd()?, received))
    }

    /// Whether `splice(2)` works on it: not on a simulated socket.
    pub(super) fn can_splice(&self) -> bool {
        self.shared.io.borrow().streams[self.index as usize].sock.raw() >= 0
    }

    /// Stops receiving; ready once no receive is in flight.
    pub(super) fn poll_recv_stopped(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.io.borrow_mut().poll_recv_stopped(self.index, cx)
    }

    /// Lets receives happen again after [`Stream::poll_recv_stopped`].
    pub(super) fn restart_recv(&self) {
        self.shared.io.borrow_mut().streams[self.index as usize].recv_stopped = false;
    }

    /// What lies in the receive queue; receives nothing.
    pub(super) fn take_received(&self) -> Option<Chunk> {
        self.shared.io.borrow_mut().streams[self.index as usize].recv.pop_front()
    }

    /// Whether the end of the stream, or its error, has been received.
    pub(super) fn received_end(&self) -> io::Result<bool> {
        let io = self.shared.io.borrow();
        let slot = &io.streams[self.index as usize];
        match slot.recv_error {
            0 => Ok(slot.eof),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The end of the stream was found by other means than a receive.
    pub(super) fn mark_end(&self) {
        self.shared.io.borrow_mut().streams[self.index as usize].end_recv();
    }

    /// Another descriptor of the socket, which is non-blocking from now on. (Receives and sends
    /// on the ring then wait by polling first.)
    pub(super) fn dup_nonblocking(&self) -> io::Result<OwnedFd> {
        let io = self.shared.io.borrow();
        let fd = io.streams[self.index as usize].sock.fd()?;
        rustix::io::ioctl_fionbio(fd, true)?;
        fd.try_clone_to_owned()
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    fn with_socket<T>(&self, f: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
        let io = self.shared.io.borrow();
        let fd = io.streams[self.index as usize].sock.fd()?;
        f(SockRef::from(&fd))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.io.borrow_mut().drop_stream(self.index);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("index", &self.index).finish_non_exhaustive()
    }
}

fn tcp_info(socket: &SockRef<'_>) -> io::Result<TcpInfo> {
    use std::os::fd::AsRawFd;
    // SAFETY: all-zero bytes are a valid value of this plain C struct.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a struct of that size. No crate in use
    // has a typed form of this option.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        rtt: Duration::from_micros(u64::from(info.tcpi_rtt)),
        rtt_var: Duration::from_micros(u64::from(info.tcpi_rttvar)),
        retransmits: info.tcpi_total_retrans,
        congestion_window: info.tcpi_snd_cwnd,
    })
}
