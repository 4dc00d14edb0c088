//! Socket options of listeners and connections, and how they are set.

use super::SockAddr;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// TCP keep-alive; what is `None` stays at the system's setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe (whole seconds).
    pub time: Option<Duration>,
    /// Time between probes (whole seconds).
    pub interval: Option<Duration>,
    /// Unanswered probes until the connection is dead.
    pub probes: Option<u32>,
}

/// A socket option given by number, as configurations do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOption {
    /// Protocol level, such as `SOL_SOCKET`.
    pub level: i32,
    /// Option number.
    pub name: i32,
    /// The value's bytes in the layout the kernel expects.
    pub value: Vec<u8>,
}

impl SocketOption {
    /// An option whose value is an `int`.
    pub fn int(level: i32, name: i32, value: i32) -> Self {
        Self { level, name, value: value.to_ne_bytes().to_vec() }
    }
}

/// How to open a connection.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Local address to connect from.
    pub bind: Option<SockAddr>,
    /// `TCP_NODELAY`; on unless switched off.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` and its times.
    pub keepalive: Option<Keepalive>,
    /// `SO_MARK` (needs CAP_NET_ADMIN).
    pub mark: Option<u32>,
    /// `IP_TRANSPARENT`: bind to an address that is not ours (needs CAP_NET_ADMIN).
    pub transparent: bool,
    /// Further options, set before connecting.
    pub options: Vec<SocketOption>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            bind: None,
            nodelay: true,
            keepalive: None,
            mark: None,
            transparent: false,
            options: Vec::new(),
        }
    }
}

/// How to open a listener.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// `SO_REUSEPORT`: one listener per shard on the same port.
    pub reuse_port: bool,
    /// Connections the kernel queues.
    pub backlog: u32,
    /// Without it the socket is bound and refuses connections until somebody calls `listen` on it.
    pub listen: bool,
    /// Permission bits of a unix socket's file.
    pub mode: Option<u32>,
    /// `TCP_NODELAY` for what is accepted; on unless switched off.
    pub nodelay: bool,
    /// Keep-alive for what is accepted.
    pub keepalive: Option<Keepalive>,
    /// `IP_TRANSPARENT` (needs CAP_NET_ADMIN).
    pub transparent: bool,
    /// `IP_FREEBIND`: bind to an address that does not exist yet.
    pub freebind: bool,
    /// `IPV6_V6ONLY`: an IPv6 listener takes no IPv4 connections.
    pub v6_only: bool,
    /// `TCP_FASTOPEN` queue length.
    pub fast_open: Option<u32>,
    /// Further options, set before binding.
    pub options: Vec<SocketOption>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            reuse_port: false,
            backlog: 4096,
            listen: true,
            mode: None,
            nodelay: true,
            keepalive: None,
            transparent: false,
            freebind: false,
            v6_only: true,
            fast_open: None,
            options: Vec::new(),
        }
    }
}

/// A socket for `addr` with the options of an outgoing connection, bound but not connected.
pub(crate) fn open_client(
    addr: &SockAddr,
    opts: &ConnectOptions,
    nonblocking: bool,
) -> io::Result<Socket> {
    let socket = open(addr, Type::STREAM, nonblocking)?;
    let tcp = matches!(addr, SockAddr::Inet(_));
    if tcp && opts.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = &opts.keepalive
        && tcp
    {
        set_keepalive(&socket, keepalive)?;
    }
    if let Some(mark) = opts.mark {
        socket.set_mark(mark)?;
    }
    set_transparent(&socket, addr, opts.transparent)?;
    set_all(&socket, &opts.options)?;
    if let Some(bind) = &opts.bind {
        // The port is chosen at connect: more than 64k connections to different peers fit.
        if bind.port() == 0 && tcp {
            set_raw(&socket, &SocketOption::int(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1))?;
        }
        socket.bind(&bind.to_raw()?)?;
    }
    Ok(socket)
}

/// A listening socket.
pub(crate) fn open_listener(
    addr: &SockAddr,
    opts: &ListenOptions,
    nonblocking: bool,
) -> io::Result<Socket> {
    let socket = open(addr, Type::STREAM, nonblocking)?;
    if let SockAddr::Inet(inet) = addr {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(opts.reuse_port)?;
        // Accepted sockets inherit these: no system call per connection.
        socket.set_tcp_nodelay(opts.nodelay)?;
        if let Some(keepalive) = &opts.keepalive {
            set_keepalive(&socket, keepalive)?;
        }
        if inet.is_ipv6() {
            socket.set_only_v6(opts.v6_only)?;
        }
        if opts.freebind {
            if inet.is_ipv6() {
                socket.set_freebind_v6(true)?;
            } else {
                socket.set_freebind_v4(true)?;
            }
        }
        if let Some(queue) = opts.fast_open {
            let queue = i32::try_from(queue).unwrap_or(i32::MAX);
            set_raw(&socket, &SocketOption::int(libc::SOL_TCP, libc::TCP_FASTOPEN, queue))?;
        }
    }
    set_transparent(&socket, addr, opts.transparent)?;
    set_all(&socket, &opts.options)?;
    socket.bind(&addr.to_raw()?)?;
    if let (SockAddr::Unix(super::UnixAddr::Path(path)), Some(mode)) = (addr, opts.mode) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    if opts.listen {
        socket.listen(i32::try_from(opts.backlog).unwrap_or(i32::MAX))?;
    }
    Ok(socket)
}

/// A datagram socket bound to `addr`.
pub(crate) fn open_udp(addr: &SockAddr, options: &[SocketOption]) -> io::Result<Socket> {
    let socket = open(addr, Type::DGRAM, true)?;
    set_all(&socket, options)?;
    if *addr != SockAddr::Unix(super::UnixAddr::Unnamed) {
        socket.bind(&addr.to_raw()?)?;
    }
    Ok(socket)
}

/// Sets one option by number.
pub(crate) fn set_raw(socket: &impl AsFd, option: &SocketOption) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let len = libc::socklen_t::try_from(option.value.len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the kernel reads `len` bytes of a live vector. Options given by number have no
    // typed setter.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            option.level,
            option.name,
            option.value.as_ptr().cast(),
            len,
        )
    };
    if rc == 0 {
        return Ok(());
    }
    let err = io::Error::last_os_error();
    let what = format!("socket option level {} name {}: {err}", option.level, option.name);
    Err(io::Error::new(err.kind(), what))
}

/// Sets `SO_LINGER` to 0, so that close sends a reset.
pub(crate) fn set_reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

fn open(addr: &SockAddr, kind: Type, nonblocking: bool) -> io::Result<Socket> {
    let (domain, protocol) = match addr {
        SockAddr::Inet(addr) => (
            Domain::for_address(*addr),
            Some(if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP }),
        ),
        SockAddr::Unix(_) => (Domain::UNIX, None),
    };
    let kind = if nonblocking { kind.nonblocking() } else { kind };
    Socket::new_raw(domain, kind.cloexec(), protocol)
}

fn set_keepalive(socket: &Socket, keepalive: &Keepalive) -> io::Result<()> {
    let mut times = TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        times = times.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        times = times.with_interval(interval);
    }
    if let Some(probes) = keepalive.probes {
        times = times.with_retries(probes);
    }
    socket.set_tcp_keepalive(&times)
}

fn set_transparent(socket: &Socket, addr: &SockAddr, on: bool) -> io::Result<()> {
    if !on {
        return Ok(());
    }
    match addr {
        SockAddr::Inet(addr) if addr.is_ipv4() => socket.set_ip_transparent_v4(true),
        SockAddr::Inet(_) => {
            set_raw(socket, &SocketOption::int(libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1))
        }
        SockAddr::Unix(_) => Ok(()),
    }
}

fn set_all(socket: &Socket, options: &[SocketOption]) -> io::Result<()> {
    options.iter().try_for_each(|option| set_raw(socket, option))
}
