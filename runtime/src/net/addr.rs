//! Socket addresses: IP and unix.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where a socket is bound or connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SockAddr {
    /// An IPv4 or IPv6 address and port.
    Inet(SocketAddr),
    /// A unix socket.
    Unix(UnixAddr),
}

/// The name of a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnixAddr {
    /// A name in the file system.
    Path(PathBuf),
    /// A name in Linux' abstract space, without its leading zero byte.
    Abstract(Vec<u8>),
    /// No name: the client's end of most connections.
    Unnamed,
}

impl SockAddr {
    /// The IP address and port, when it is one.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    /// The IP address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_inet().map(|addr| addr.ip())
    }

    /// The port; 0 for a unix socket.
    pub fn port(&self) -> u16 {
        self.as_inet().map_or(0, |addr| addr.port())
    }

    /// A unix socket's name: a path, or an abstract name after `@`.
    pub fn unix(name: impl AsRef<Path>) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let name = name.as_ref();
        match name.as_os_str().as_bytes() {
            [b'@' | 0, rest @ ..] => Self::Unix(UnixAddr::Abstract(rest.to_vec())),
            _ => Self::Unix(UnixAddr::Path(name.to_path_buf())),
        }
    }

    /// The form system calls take.
    ///
    /// # Errors
    /// A unix name that is too long for the kernel (more than 107 bytes).
    pub(crate) fn to_raw(&self) -> io::Result<socket2::SockAddr> {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        match self {
            Self::Inet(addr) => Ok((*addr).into()),
            Self::Unix(UnixAddr::Path(path)) => socket2::SockAddr::unix(path),
            Self::Unix(UnixAddr::Abstract(name)) => {
                let mut full = Vec::with_capacity(name.len() + 1);
                full.push(0);
                full.extend_from_slice(name);
                socket2::SockAddr::unix(OsStr::from_bytes(&full))
            }
            Self::Unix(UnixAddr::Unnamed) => socket2::SockAddr::unix(""),
        }
    }

    /// From what a system call returned.
    pub(crate) fn from_raw(raw: &socket2::SockAddr) -> Self {
        if let Some(addr) = raw.as_socket() {
            // An IPv4 peer of a socket that serves both is an IPv4 address to everybody above.
            return match addr.ip().to_canonical() {
                IpAddr::V4(ip) => Self::Inet((ip, addr.port()).into()),
                IpAddr::V6(_) => Self::Inet(addr),
            };
        }
        if let Some(path) = raw.as_pathname() {
            return Self::Unix(UnixAddr::Path(path.to_path_buf()));
        }
        match raw.as_abstract_namespace() {
            Some(name) => Self::Unix(UnixAddr::Abstract(name.to_vec())),
            None => Self::Unix(UnixAddr::Unnamed),
        }
    }
}

/// The address a socket is bound to.
///
/// # Errors
/// That of `getsockname`: it is no socket.
pub fn address_of(socket: &impl std::os::fd::AsFd) -> io::Result<SockAddr> {
    Ok(SockAddr::from_raw(&socket2::SockRef::from(socket).local_addr()?))
}

impl From<SocketAddr> for SockAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

impl fmt::Display for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix(UnixAddr::Path(path)) => path.display().fmt(f),
            Self::Unix(UnixAddr::Abstract(name)) => write!(f, "@{}", name.escape_ascii()),
            Self::Unix(UnixAddr::Unnamed) => f.write_str("(unnamed)"),
        }
    }
}
