//! HTTP/1.1 as bytes, for scripted clients and servers: a socket with a buffer, and messages taken
//! from it whole. It keeps what it reads unchanged, so that a test can compare it. A socket may
//! have TLS on it (`secure`).

use crate::tls::Link;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Why nothing more comes from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sent FIN.
    Closed,
    /// The peer sent RST.
    Reset,
    /// Nothing came in time.
    Timeout,
    /// What came is not what was expected.
    Garbage,
    /// TLS failed, with an alert from either side.
    Alert,
    /// The peer sent FIN without the close_notify of TLS.
    Cut,
}

impl End {
    /// The word of a transcript.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Timeout => "open",
            Self::Garbage => "garbage",
            Self::Alert => "ended by an alert",
            Self::Cut => "closed without close_notify",
        }
    }
}

/// One connection and what was received on it but not taken yet.
#[derive(Debug)]
pub struct Peer {
    socket: Socket,
    tls: Option<Box<Link>>,
    /// Received, not taken.
    pub buf: Vec<u8>,
}

/// A message without its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Request line or status line, without CRLF.
    pub start: String,
    /// In the order received; names as received.
    pub headers: Vec<(String, String)>,
}

/// How a body was framed, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body allowed, or a length of 0.
    None,
    /// `content-length`.
    Length(Vec<u8>),
    /// `transfer-encoding: chunked`: the data of all chunks, and the trailer lines.
    Chunked(Vec<u8>, Vec<String>),
    /// To the end of the connection.
    UntilClose(Vec<u8>),
}

impl Head {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The status of a response, 0 when there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = escape_latin(bytes);
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let start = lines.next().unwrap_or_default().to_owned();
        let split = |line: &str| match line.split_once(':') {
            Some((name, value)) => (name.to_owned(), value.trim().to_owned()),
            None => (line.to_owned(), String::new()),
        };
        Self { start, headers: lines.map(split).collect() }
    }

    fn is_chunked(&self) -> bool {
        self.headers.iter().any(|(n, v)| {
            n.eq_ignore_ascii_case("transfer-encoding")
                && v.to_ascii_lowercase().contains("chunked")
        })
    }

    fn length(&self) -> Option<usize> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }
}

/// Bytes as text: ASCII and line ends stay, everything else becomes `\xNN`.
#[must_use]
pub fn escape_latin(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &b in bytes {
        match b {
            b'\r' | b'\n' | 0x20..=0x7e => text.push(char::from(b)),
            b'\t' => text.push_str("\\t"),
            _ => text.push_str(&format!("\\x{b:02x}")),
        }
    }
    text
}

impl Peer {
    /// Takes over a connected socket.
    #[must_use]
    pub fn new(socket: Socket) -> Self {
        socket.set_tcp_nodelay(true).ok();
        Self { socket, tls: None, buf: Vec::new() }
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::from(addr), Duration::from_secs(5))?;
        Ok(Self::new(socket))
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect_unix(path: &Path) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self { socket, tls: None, buf: Vec::new() })
    }

    /// The port of this end, 0 for a unix socket.
    #[must_use]
    pub fn local_port(&self) -> u16 {
        self.socket.local_addr().ok().and_then(|a| a.as_socket()).map_or(0, |a| a.port())
    }

    /// Sends all bytes; what the peer does not take is its decision, and is seen when reading.
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.set_write_timeout(Some(Duration::from_secs(10))).ok();
        match &mut self.tls {
            Some(link) => link.send(bytes, &self.socket),
            None => {
                self.socket.write_all(bytes).ok();
            }
        }
    }

    /// FIN: this end sends no more, but goes on reading.
    pub fn fin(&mut self) {
        if let Some(link) = &mut self.tls {
            link.close_notify(&self.socket);
        }
        self.socket.shutdown(Shutdown::Write).ok();
    }

    /// RST, when the value is dropped.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).ok();
    }

    /// Puts TLS on the socket and waits for the end of the handshake; what was received before
    /// belongs to it.
    ///
    /// # Errors
    /// How it failed.
    pub fn secure(&mut self, connection: rustls::Connection, deadline: Instant) -> Result<(), End> {
        let received = std::mem::take(&mut self.buf);
        let link = self.tls.insert(Box::new(Link::new(connection)));
        link.flush(&self.socket);
        link.take(&received, &self.socket, &mut self.buf)?;
        let mut chunk = [0_u8; 16 * 1024];
        while self.tls.as_ref().is_some_and(|link| link.is_handshaking()) {
            let n = self.read(&mut chunk, deadline)?;
            if let Some(link) = &mut self.tls {
                link.take(&chunk[..n], &self.socket, &mut self.buf)?;
            }
        }
        Ok(())
    }

    /// The TLS on this socket.
    #[must_use]
    pub fn tls(&self) -> Option<&Link> {
        self.tls.as_deref()
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_clone_socket(&self) -> std::io::Result<Socket> {
        self.socket.try_clone()
    }

    /// Reads something more.
    ///
    /// # Errors
    /// How the connection ended, or that nothing came until `deadline`.
    pub fn fill(&mut self, deadline: Instant) -> Result<(), End> {
        let mut chunk = [0_u8; 16 * 1024];
        let before = self.buf.len();
        loop {
            if self.tls.as_ref().is_some_and(|link| link.is_closed()) {
                return Err(End::Closed);
            }
            let n = self.read(&mut chunk, deadline)?;
            match &mut self.tls {
                Some(link) => link.take(&chunk[..n], &self.socket, &mut self.buf)?,
                None => self.buf.extend_from_slice(&chunk[..n]),
            }
            if self.buf.len() > before {
                return Ok(());
            }
        }
    }

    fn read(&self, chunk: &mut [u8], deadline: Instant) -> Result<usize, End> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Timeout);
            }
            self.socket.set_read_timeout(Some(left)).ok();
            return match (&self.socket).read(chunk) {
                Ok(0) if self.tls.is_some() => Err(End::Cut),
                Ok(0) => Err(End::Closed),
                Ok(n) => Ok(n),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Err(End::Timeout)
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Err(End::Reset),
            };
        }
    }

    /// Takes everything up to and with `mark`.
    ///
    /// # Errors
    /// The end came first; what was received stays in `buf`.
    pub fn until(&mut self, mark: &[u8], deadline: Instant) -> Result<Vec<u8>, End> {
        let mut seen = 0;
        loop {
            let from = seen.max(mark.len()) - mark.len();
            let tail = &self.buf[from.min(self.buf.len())..];
            if let Some(at) = tail.windows(mark.len()).position(|w| w == mark) {
                return Ok(self.buf.drain(..from + at + mark.len()).collect());
            }
            seen = self.buf.len();
            self.fill(deadline)?;
        }
    }

    /// Takes exactly `n` bytes.
    ///
    /// # Errors
    /// The end came first; what was received stays in `buf`.
    pub fn exactly(&mut self, n: usize, deadline: Instant) -> Result<Vec<u8>, End> {
        while self.buf.len() < n {
            self.fill(deadline)?;
        }
        Ok(self.buf.drain(..n).collect())
    }

    /// Reads to the end of the connection, or to `deadline`.
    pub fn to_end(&mut self, deadline: Instant) -> End {
        loop {
            if let Err(end) = self.fill(deadline) {
                return end;
            }
        }
    }

    /// Takes a head: everything up to and with the empty line.
    ///
    /// # Errors
    /// The end came first; what was received stays in `buf`.
    pub fn head(&mut self, deadline: Instant) -> Result<Head, End> {
        self.until(b"\r\n\r\n", deadline).map(|bytes| Head::parse(&bytes))
    }

    /// Takes the body of a request.
    ///
    /// # Errors
    /// The end, with the part of the body that came.
    pub fn request_body(&mut self, head: &Head, deadline: Instant) -> Result<Body, (End, Body)> {
        if head.is_chunked() {
            return self.chunked(deadline);
        }
        self.length_body(head.length().unwrap_or(0), deadline)
    }

    /// Takes the body of a response to `method`.
    ///
    /// # Errors
    /// The end, with the part of the body that came.
    pub fn response_body(
        &mut self,
        head: &Head,
        to_head: bool,
        deadline: Instant,
    ) -> Result<Body, (End, Body)> {
        let status = head.status();
        if to_head || matches!(status, 100..200 | 204 | 304) {
            return Ok(Body::None);
        }
        if head.is_chunked() {
            return self.chunked(deadline);
        }
        match head.length() {
            Some(n) => self.length_body(n, deadline),
            None => match self.to_end(deadline) {
                End::Closed => Ok(Body::UntilClose(std::mem::take(&mut self.buf))),
                end => Err((end, Body::UntilClose(std::mem::take(&mut self.buf)))),
            },
        }
    }

    fn length_body(&mut self, n: usize, deadline: Instant) -> Result<Body, (End, Body)> {
        if n == 0 {
            return Ok(Body::None);
        }
        match self.exactly(n, deadline) {
            Ok(bytes) => Ok(Body::Length(bytes)),
            Err(end) => Err((end, Body::Length(std::mem::take(&mut self.buf)))),
        }
    }

    fn chunked(&mut self, deadline: Instant) -> Result<Body, (End, Body)> {
        let mut data = Vec::new();
        let mut trailers = Vec::new();
        match self.chunks(&mut data, &mut trailers, deadline) {
            Ok(()) => Ok(Body::Chunked(data, trailers)),
            Err(end) => Err((end, Body::Chunked(data, trailers))),
        }
    }

    fn chunks(
        &mut self,
        data: &mut Vec<u8>,
        trailers: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<(), End> {
        loop {
            let line = self.until(b"\r\n", deadline)?;
            let hex = line.split(|b| *b == b';' || *b == b'\r').next().unwrap_or_default();
            let size = std::str::from_utf8(hex)
                .ok()
                .and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok())
                .ok_or(End::Garbage)?;
            if size == 0 {
                break;
            }
            while self.buf.len() < size.saturating_add(2) {
                if let Err(end) = self.fill(deadline) {
                    data.append(&mut self.buf);
                    return Err(end);
                }
            }
            data.extend(self.buf.drain(..size));
            self.buf.drain(..2);
        }
        loop {
            let line = self.until(b"\r\n", deadline)?;
            if line.len() == 2 {
                return Ok(());
            }
            trailers.push(escape_latin(&line[..line.len() - 2]));
        }
    }
}
