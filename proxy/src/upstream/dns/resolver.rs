//! A name to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway_runtime::{self as runtime, Chunk, ConnectOptions, SockAddr, UdpSocket};

use super::message::{DnsName, RecordType, Reply, UDP_SIZE, question, reply};
use super::system::{ResolvConf, hosts_lookup};
use crate::plan::cluster::DnsFamily;

/// The addresses of a name; none if it has none of the family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the server.
    pub addresses: Vec<IpAddr>,
    /// The least time they are valid; `None` for literals and `/etc/hosts`.
    pub ttl: Option<Duration>,
}

/// Why a name could not be looked up. That it does not exist is an answer, not a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No server answered in time.
    #[error("no DNS server answered in time")]
    Timeout,
    /// All servers refused or failed.
    #[error("the DNS servers failed (code {0})")]
    Server(u8),
    /// It is no domain name.
    #[error("not a domain name")]
    Name,
}

/// Looks names up. Cheap to make: files are read at each look-up, as they may change.
#[derive(Debug, Clone)]
pub struct Resolver {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }
}

impl Resolver {
    /// With other files, for tests.
    pub fn with_files(resolv_conf: impl Into<PathBuf>, hosts: impl Into<PathBuf>) -> Self {
        Self { resolv_conf: resolv_conf.into(), hosts: hosts.into() }
    }

    /// Looks a name up: a literal address is itself, then `/etc/hosts`, then the servers (those
    /// given, else the system's).
    ///
    /// # Errors
    /// [`Failure`]; after `attempts × servers × timeout` at the latest, twice that where both
    /// families are asked one after the other.
    pub async fn lookup(
        &self,
        name: &str,
        family: DnsFamily,
        servers: &[SocketAddr],
    ) -> Result<Answer, Failure> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok(Answer { addresses: vec![ip], ttl: None });
        }
        let hosts = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let known = of_family(hosts_lookup(&hosts, name), family);
        if !known.is_empty() {
            return Ok(Answer { addresses: known, ttl: None });
        }
        let mut conf = ResolvConf::load(&self.resolv_conf);
        if !servers.is_empty() {
            conf.servers = servers.to_vec();
        }
        match family {
            DnsFamily::V4Only => search(&conf, name, RecordType::A).await,
            DnsFamily::V6Only => search(&conf, name, RecordType::Aaaa).await,
            DnsFamily::Auto => prefer(&conf, name, RecordType::Aaaa, RecordType::A).await,
            DnsFamily::V4Preferred => prefer(&conf, name, RecordType::A, RecordType::Aaaa).await,
            DnsFamily::All => both(&conf, name).await,
        }
    }
}

fn of_family(addresses: Vec<IpAddr>, family: DnsFamily) -> Vec<IpAddr> {
    let (four, six): (Vec<_>, Vec<_>) = addresses.iter().partition(|ip| ip.is_ipv4());
    match family {
        DnsFamily::V4Only => four,
        DnsFamily::V6Only => six,
        DnsFamily::Auto => {
            if six.is_empty() {
                four
            } else {
                six
            }
        }
        DnsFamily::V4Preferred => {
            if four.is_empty() {
                six
            } else {
                four
            }
        }
        DnsFamily::All => addresses,
    }
}

/// The second family only where the first has nothing.
async fn prefer(
    conf: &ResolvConf,
    name: &str,
    first: RecordType,
    second: RecordType,
) -> Result<Answer, Failure> {
    match search(conf, name, first).await {
        Ok(answer) if !answer.addresses.is_empty() => Ok(answer),
        _ => search(conf, name, second).await,
    }
}

/// Both families; one that fails is left out if the other has something to say.
async fn both(conf: &ResolvConf, name: &str) -> Result<Answer, Failure> {
    let four = search(conf, name, RecordType::A).await;
    let six = search(conf, name, RecordType::Aaaa).await;
    match (four, six) {
        (Ok(four), Ok(six)) => Ok(Answer {
            ttl: four.ttl.into_iter().chain(six.ttl).min(),
            addresses: six.addresses.into_iter().chain(four.addresses).collect(),
        }),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => Ok(one),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
    }
}

/// The name itself and with each domain of the search list, until one has addresses.
async fn search(conf: &ResolvConf, name: &str, kind: RecordType) -> Result<Answer, Failure> {
    let mut result = Err(Failure::Name);
    for candidate in conf.candidates(name) {
        let Some(candidate) = DnsName::parse(&candidate) else { continue };
        let reply = ask(conf, &candidate, kind).await?;
        if !reply.addresses.is_empty() {
            let ttl = reply.addresses.iter().map(|a| a.1).min();
            return Ok(Answer {
                addresses: reply.addresses.into_iter().map(|a| a.0).collect(),
                ttl: ttl.map(|seconds| Duration::from_secs(seconds.into())),
            });
        }
        result = Ok(Answer::default());
    }
    result
}

/// Asks the servers in turn until one says yes or "no such name".
async fn ask(conf: &ResolvConf, name: &DnsName, kind: RecordType) -> Result<Reply, Failure> {
    let mut failure = Failure::Timeout;
    for _ in 0..conf.attempts {
        for &server in &conf.servers {
            let asked = runtime::timeout(conf.timeout, ask_one(server, name, kind)).await;
            match asked {
                Ok(Ok(reply)) if matches!(reply.code, NO_ERROR | NO_SUCH_NAME) => return Ok(reply),
                Ok(Ok(reply)) => failure = Failure::Server(reply.code),
                // Nobody there, or no time left.
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
    Err(failure)
}

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const NO_SUCH_NAME: u8 = 3;

/// Asks one server: over UDP with EDNS, without it if that is what it stumbles over, over TCP if
/// the answer is too long.
async fn ask_one(server: SocketAddr, name: &DnsName, kind: RecordType) -> io::Result<Reply> {
    let mut reply = over_udp(server, name, kind, true).await?;
    if reply.code == FORMAT_ERROR {
        reply = over_udp(server, name, kind, false).await?;
    }
    if reply.truncated { over_tcp(server, name, kind).await } else { Ok(reply) }
}

/// Every question has a port and an id of its own, so that answers are hard to forge.
async fn over_udp(
    server: SocketAddr,
    name: &DnsName,
    kind: RecordType,
    edns: bool,
) -> io::Result<Reply> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(&SockAddr::Inet(SocketAddr::new(any, 0)))?;
    let server = SockAddr::Inet(server);
    socket.connect(&server)?;
    let id = runtime::rand_u64() as u16;
    socket.send(&question(id, name, kind, edns)).await?;
    loop {
        let (datagram, _) = socket.recv_from(usize::from(UDP_SIZE)).await?;
        if let Ok(reply) = reply(&datagram, id, name, kind) {
            return Ok(reply);
        }
    }
}

async fn over_tcp(server: SocketAddr, name: &DnsName, kind: RecordType) -> io::Result<Reply> {
    let stream = runtime::connect(&SockAddr::Inet(server), &ConnectOptions::default()).await?;
    let id = runtime::rand_u64() as u16;
    let question = question(id, name, kind, false);
    let mut framed = (question.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&question);
    stream.write(Chunk::from(framed));
    let mut received = Vec::new();
    loop {
        if let Some((&[high, low], rest)) = received.split_first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes([high, low]));
            if let Some(message) = rest.get(..len) {
                return reply(message, id, name, kind)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no DNS answer"));
            }
        }
        match stream.recv().await? {
            Some(data) => received.extend_from_slice(&data),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
