//! What two processes say to each other in a hot restart, as bytes.
//!
//! A note is one message of a `SOCK_SEQPACKET` socket: a byte that says what it is, then its
//! fields. Numbers are big-endian; what has a length has it in front, in two bytes. Both processes
//! may be of different builds: [`VERSION`] changes with every change here, and is said first, in
//! notes whose form never changes ([`Note::Hello`], [`Note::Welcome`], [`Note::Sorry`]).

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway_runtime::{SockAddr, UnixAddr};

use crate::control::message::Passport;
use crate::observe::stats::ScopeValues;

/// Version of this protocol; processes of different versions do not restart each other.
pub const VERSION: u32 = 1;

/// Bytes of a note at the most.
pub(super) const NOTE_MAX: usize = 48 << 10;

/// Entries of a list in a note at the most.
pub(super) const LIST_MAX: usize = 1024;

/// One message between the processes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::control) enum Note {
    // ---- child → parent ----
    /// The first note: who asks.
    Hello { version: u32, epoch: u32 },
    /// Give up the admin address. Answered by [`Note::AdminStopped`].
    TakeAdmin,
    /// Addresses whose sockets the child is going to accept on.
    Claim(Vec<SockAddr>),
    /// Stop to accept on what was claimed. Answered by [`Note::Stopped`].
    TakeOver,
    /// The child accepts: drain, hand idle connections over.
    Live,
    /// All connections up to this number are the child's now.
    Taken(u64),
    /// The child has no use for this connection.
    Refused(u64),
    /// Tell the statistics. Answered by [`Note::Stats`].
    TellStats,
    /// Your time is over.
    Terminate,

    // ---- parent → child ----
    /// Answer to [`Note::Hello`]: descriptors of sockets follow.
    Welcome { version: u32, epoch: u32, generation: u64, started: Duration },
    /// Another answer to it: no, and why.
    Sorry(String),
    /// A listening socket, as the descriptor of this note.
    Socket,
    /// That was the last socket.
    AllSockets,
    /// The admin address is free.
    AdminStopped,
    /// Nothing claimed is accepted any more.
    Stopped,
    /// An idle connection, as the descriptor of this note.
    Connection { number: u64, passport: Box<Passport> },
    /// Some statistics.
    Stats(Report),
}

/// Statistics of the parent, or a part of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::control) struct Report {
    /// Connections the parent has open.
    pub connections: u64,
    /// No part follows.
    pub last: bool,
    /// Values since the parent began, by name.
    pub scopes: Vec<ScopeValues>,
}

/// Why bytes are no note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    /// They end too early.
    Short,
    /// There are more than the note has.
    Long,
    /// No note begins with this byte.
    Unknown(u8),
    /// A field has a value it cannot have.
    Value(&'static str),
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("it ends too early"),
            Self::Long => f.write_str("bytes follow its end"),
            Self::Unknown(kind) => write!(f, "no note has the number {kind}"),
            Self::Value(what) => write!(f, "{what} has a value it cannot have"),
        }
    }
}

impl Note {
    /// The bytes; `None` where they would be more than a note may have.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Writer { bytes: Vec::with_capacity(64), fits: true };
        match self {
            Self::Hello { version, epoch } => out.kind(1).u32(*version).u32(*epoch),
            Self::TakeAdmin => out.kind(2),
            Self::Claim(addresses) => out.kind(3).list(addresses, Writer::address),
            Self::TakeOver => out.kind(4),
            Self::Live => out.kind(5),
            Self::Taken(upto) => out.kind(6).u64(*upto),
            Self::Refused(number) => out.kind(7).u64(*number),
            Self::TellStats => out.kind(8),
            Self::Terminate => out.kind(9),
            Self::Welcome { version, epoch, generation, started } => {
                out.kind(64).u32(*version).u32(*epoch).u64(*generation).millis(*started)
            }
            Self::Sorry(why) => out.kind(65).text(why),
            Self::Socket => out.kind(66),
            Self::AllSockets => out.kind(67),
            Self::AdminStopped => out.kind(68),
            Self::Stopped => out.kind(69),
            Self::Connection { number, passport } => out.kind(70).u64(*number).passport(passport),
            Self::Stats(report) => out.kind(71).report(report),
        };
        (out.fits && out.bytes.len() <= NOTE_MAX).then_some(out.bytes)
    }

    /// Reads a note.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Garbage> {
        let mut from = Reader(bytes);
        let note = match from.u8()? {
            1 => Self::Hello { version: from.u32()?, epoch: from.u32()? },
            2 => Self::TakeAdmin,
            3 => Self::Claim(from.list(Reader::address)?),
            4 => Self::TakeOver,
            5 => Self::Live,
            6 => Self::Taken(from.u64()?),
            7 => Self::Refused(from.u64()?),
            8 => Self::TellStats,
            9 => Self::Terminate,
            64 => Self::Welcome {
                version: from.u32()?,
                epoch: from.u32()?,
                generation: from.u64()?,
                started: from.millis()?,
            },
            65 => Self::Sorry(from.text()?),
            66 => Self::Socket,
            67 => Self::AllSockets,
            68 => Self::AdminStopped,
            69 => Self::Stopped,
            70 => Self::Connection { number: from.u64()?, passport: Box::new(from.passport()?) },
            71 => Self::Stats(from.report()?),
            other => return Err(Garbage::Unknown(other)),
        };
        if from.0.is_empty() { Ok(note) } else { Err(Garbage::Long) }
    }
}

/// Appends fields.
struct Writer {
    bytes: Vec<u8>,
    /// No field was too long for its length.
    fits: bool,
}

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.bytes.push(kind);
        self
    }

    fn bool(&mut self, value: bool) -> &mut Self {
        self.bytes.push(value.into());
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_be_bytes());
        self
    }

    fn millis(&mut self, value: Duration) -> &mut Self {
        self.u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    fn blob(&mut self, value: &[u8]) -> &mut Self {
        let len = u16::try_from(value.len());
        self.fits &= len.is_ok();
        self.u16(len.unwrap_or(u16::MAX));
        self.bytes.extend_from_slice(value);
        self
    }

    fn text(&mut self, value: &str) -> &mut Self {
        self.blob(value.as_bytes())
    }

    fn list<T>(
        &mut self,
        items: &[T],
        one: impl for<'a> Fn(&'a mut Self, &T) -> &'a mut Self,
    ) -> &mut Self {
        self.fits &= items.len() <= LIST_MAX;
        self.u16(items.len().min(LIST_MAX) as u16);
        for item in items.iter().take(LIST_MAX) {
            one(self, item);
        }
        self
    }

    fn option<T>(
        &mut self,
        value: Option<&T>,
        one: impl for<'a> Fn(&'a mut Self, &T) -> &'a mut Self,
    ) -> &mut Self
    where
        T: ?Sized,
    {
        self.bool(value.is_some());
        if let Some(value) = value {
            one(self, value);
        }
        self
    }

    fn address(&mut self, address: &SockAddr) -> &mut Self {
        use std::os::unix::ffi::OsStrExt;
        match address {
            SockAddr::Inet(inet) => {
                match inet.ip() {
                    IpAddr::V4(ip) => self.kind(4).bytes.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => self.kind(6).bytes.extend_from_slice(&ip.octets()),
                }
                self.u16(inet.port())
            }
            SockAddr::Unix(UnixAddr::Path(path)) => self.kind(1).blob(path.as_os_str().as_bytes()),
            SockAddr::Unix(UnixAddr::Abstract(name)) => self.kind(2).blob(name),
            SockAddr::Unix(UnixAddr::Unnamed) => self.kind(0),
        }
    }

    fn passport(&mut self, passport: &Passport) -> &mut Self {
        let Passport {
            listener,
            remote,
            local,
            direct_remote,
            direct_local,
            restored,
            tls,
            sni,
            application_protocols,
            tlvs,
            age,
            served,
            http1,
        } = passport;
        self.text(listener).address(remote).address(local);
        self.option(direct_remote.as_ref(), Self::address);
        self.option(direct_local.as_ref(), Self::address);
        self.bool(*restored).bool(*tls).option(sni.as_deref(), Self::text);
        self.list(application_protocols, |out, name| out.blob(name));
        self.option(tlvs.as_ref(), |out, tlvs| {
            out.list(tlvs, |out, (kind, value)| out.kind(*kind).blob(value))
        });
        self.millis(*age).u32(*served).bool(*http1)
    }

    fn report(&mut self, report: &Report) -> &mut Self {
        let Report { connections, last, scopes } = report;
        self.u64(*connections).bool(*last).list(scopes, |out, scope| {
            let number = |out: &mut Self, (name, value): &(String, u64)| {
                out.text(name).u64(*value);
            };
            out.text(&scope.prefix);
            out.list(&scope.counters, |out, entry| {
                number(out, entry);
                out
            });
            out.list(&scope.gauges, |out, entry| {
                number(out, entry);
                out
            });
            out.list(&scope.codes, |out, (code, count)| out.u16(*code).u64(*count))
        })
    }
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Garbage> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Garbage::Short)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        self.take(N)?.try_into().map_err(|_| Garbage::Short)
    }

    fn u8(&mut self) -> Result<u8, Garbage> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn bool(&mut self) -> Result<bool, Garbage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbage::Value("a yes or no")),
        }
    }

    fn u16(&mut self) -> Result<u16, Garbage> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Garbage> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Garbage> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn millis(&mut self) -> Result<Duration, Garbage> {
        Ok(Duration::from_millis(self.u64()?))
    }

    fn blob(&mut self) -> Result<&'a [u8], Garbage> {
        let len = self.u16()?;
        self.take(len.into())
    }

    fn text(&mut self) -> Result<String, Garbage> {
        let text = str::from_utf8(self.blob()?).map_err(|_| Garbage::Value("a text"))?;
        Ok(text.to_owned())
    }

    fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Garbage>,
    ) -> Result<Vec<T>, Garbage> {
        let len = usize::from(self.u16()?);
        if len > LIST_MAX {
            return Err(Garbage::Value("the length of a list"));
        }
        // Every item has a byte at least: a length that lies fails before it costs memory.
        (0..len).map(|_| one(self)).collect()
    }

    fn option<T>(
        &mut self,
        one: impl FnOnce(&mut Self) -> Result<T, Garbage>,
    ) -> Result<Option<T>, Garbage> {
        if self.bool()? { one(self).map(Some) } else { Ok(None) }
    }

    fn address(&mut self) -> Result<SockAddr, Garbage> {
        use std::os::unix::ffi::OsStrExt;
        Ok(match self.u8()? {
            0 => SockAddr::Unix(UnixAddr::Unnamed),
            1 => {
                let path = PathBuf::from(std::ffi::OsStr::from_bytes(self.blob()?));
                SockAddr::Unix(UnixAddr::Path(path))
            }
            2 => SockAddr::Unix(UnixAddr::Abstract(self.blob()?.to_vec())),
            4 => {
                let ip = IpAddr::from(self.array::<4>()?);
                SockAddr::Inet(SocketAddr::new(ip, self.u16()?))
            }
            6 => {
                let ip = IpAddr::from(self.array::<16>()?);
                SockAddr::Inet(SocketAddr::new(ip, self.u16()?))
            }
            _ => return Err(Garbage::Value("the kind of an address")),
        })
    }

    fn passport(&mut self) -> Result<Passport, Garbage> {
        Ok(Passport {
            listener: self.text()?.into(),
            remote: self.address()?,
            local: self.address()?,
            direct_remote: self.option(Self::address)?,
            direct_local: self.option(Self::address)?,
            restored: self.bool()?,
            tls: self.bool()?,
            sni: self.option(Self::text)?.map(Into::into),
            application_protocols: self.list(|from| from.blob().map(Into::into))?,
            tlvs: self.option(|from| from.list(|from| Ok((from.u8()?, from.blob()?.into()))))?,
            age: self.millis()?,
            served: self.u32()?,
            http1: self.bool()?,
        })
    }

    fn report(&mut self) -> Result<Report, Garbage> {
        let number = |from: &mut Self| Ok((from.text()?, from.u64()?));
        Ok(Report {
            connections: self.u64()?,
            last: self.bool()?,
            scopes: self.list(|from| {
                Ok(ScopeValues {
                    prefix: from.text()?,
                    counters: from.list(number)?,
                    gauges: from.list(number)?,
                    codes: from.list(|from| Ok((from.u16()?, from.u64()?)))?,
                })
            })?,
        })
    }
}
