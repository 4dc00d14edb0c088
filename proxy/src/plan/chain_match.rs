//! Which filter chain takes a connection (`filter_chain_match`).
//!
//! Criteria are looked at in Envoy's fixed order: destination port, destination prefix, server
//! name, transport protocol, application protocols, direct source prefix, source type, source
//! prefix, source port. Each step keeps the chains that name the most specific value the connection
//! has, or, where none names one, the chains that do not ask; it never goes back. (Envoy's API
//! documentation of `FilterChainMatch`.)
//!
//! The matcher is a graph with a node wherever some chain asks: a connection takes one look-up per
//! criterion that is in use, however many chains there are, and a chain costs the entries it asks
//! for.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// What a chain asks of a connection. An empty list, or an empty text, does not ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// `destination_port`
    pub destination_port: Option<u16>,
    /// `prefix_ranges` as network and prefix length; bits beyond the length do not count.
    pub destination: Vec<(IpAddr, u8)>,
    /// `server_names` in lower case; `*.example.com` is `.example.com` here.
    pub server_names: Vec<Box<str>>,
    /// `transport_protocol`
    pub transport_protocol: Box<str>,
    /// `application_protocols`
    pub application_protocols: Vec<Box<str>>,
    /// `direct_source_prefix_ranges`
    pub direct_source: Vec<(IpAddr, u8)>,
    /// `source_type`
    pub source_type: SourceType,
    /// `source_prefix_ranges`
    pub source: Vec<(IpAddr, u8)>,
    /// `source_ports`
    pub source_ports: Vec<u16>,
}

/// `ConnectionSourceType`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceType {
    /// `ANY`
    #[default]
    Any,
    /// `SAME_IP_OR_LOOPBACK`
    SameIpOrLoopback,
    /// `EXTERNAL`
    External,
}

/// What is known of a connection. Addresses are `None` for unix sockets.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the client wanted to go.
    pub local: Option<SocketAddr>,
    /// The client, as the PROXY protocol tells it.
    pub remote: Option<SocketAddr>,
    /// The peer of the socket.
    pub direct_remote: Option<SocketAddr>,
    /// Server name of the client hello in lower case; empty for none.
    pub server_name: &'a str,
    /// `raw_buffer` or `tls`.
    pub transport_protocol: &'a str,
    /// What the client offers, in its order.
    pub application_protocols: &'a [Box<[u8]>],
}

/// Two chains that some connections match equally well, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap(pub usize, pub usize);

/// The chains of a listener, indexed.
#[derive(Debug, Default)]
pub struct ChainMatcher {
    nodes: Vec<Node>,
    root: Option<Next>,
    /// `default_filter_chain`: takes what no other chain takes.
    default: Option<u32>,
}

/// What comes after a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Node(u32),
    Chain(u32),
}

/// One criterion where at least one chain asks.
#[derive(Debug)]
struct Node {
    keys: Keys,
    /// For connections that have none of the keys.
    any: Option<Next>,
}

type Map<K> = HashMap<K, Next, RandomState>;

#[derive(Debug)]
enum Keys {
    DestinationPort(Map<u16>),
    Destination(Prefixes),
    ServerName(Map<Box<str>>),
    TransportProtocol(Map<Box<str>>),
    ApplicationProtocol(Map<Box<[u8]>>),
    DirectSource(Prefixes),
    SourceType { local: Option<Next>, external: Option<Next> },
    Source(Prefixes),
    SourcePort(Map<u16>),
}

/// Longest-prefix match: one map for each prefix length in use, longest first.
#[derive(Debug, Default)]
struct Prefixes {
    v4: Vec<(u8, Map<u128>)>,
    v6: Vec<(u8, Map<u128>)>,
}

impl ChainMatcher {
    /// Indexes chains by their rules; results are positions in `rules`.
    ///
    /// # Errors
    /// Two chains that overlap, or one that names the same value twice.
    pub fn new(rules: &[Rules], default: Option<u32>) -> Result<Self, Overlap> {
        let mut builder = Builder { rules, nodes: Vec::new(), known: HashMap::default() };
        let all: Vec<u32> = (0..u32::try_from(rules.len()).unwrap_or(u32::MAX)).collect();
        let root = if all.is_empty() { None } else { Some(builder.build(0, all)?) };
        Ok(Self { nodes: builder.nodes, root, default })
    }

    /// The chain that takes a connection, by position.
    pub fn find(&self, facts: &Facts<'_>) -> Option<u32> {
        self.matching(facts).or(self.default)
    }

    fn matching(&self, facts: &Facts<'_>) -> Option<u32> {
        let mut next = self.root?;
        loop {
            match next {
                Next::Chain(index) => return Some(index),
                Next::Node(index) => {
                    let node = self.nodes.get(index as usize)?;
                    next = node.keys.find(facts).or(node.any)?;
                }
            }
        }
    }
}

/// Stands for the address of a unix socket, as in Envoy.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::BROADCAST), 0);

impl Keys {
    fn find(&self, facts: &Facts<'_>) -> Option<Next> {
        let ip = |address: Option<SocketAddr>| address.unwrap_or(NO_ADDRESS).ip();
        match self {
            Self::DestinationPort(map) => map.get(&facts.local?.port()).copied(),
            Self::Destination(map) => map.find(ip(facts.local)),
            Self::ServerName(map) => by_name(map, facts.server_name),
            Self::TransportProtocol(map) => map.get(facts.transport_protocol).copied(),
            Self::ApplicationProtocol(map) => {
                facts.application_protocols.iter().find_map(|name| map.get(name).copied())
            }
            Self::DirectSource(map) => map.find(ip(facts.direct_remote)),
            Self::SourceType { local, external } => {
                if is_same_or_loopback(facts) {
                    *local
                } else {
                    *external
                }
            }
            Self::Source(map) => map.find(ip(facts.remote)),
            Self::SourcePort(map) => map.get(&facts.remote?.port()).copied(),
        }
    }
}

/// The exact name, else the longest suffix behind one of its dots.
fn by_name(map: &Map<Box<str>>, name: &str) -> Option<Next> {
    if name.is_empty() {
        return None;
    }
    if let Some(next) = map.get(name) {
        return Some(*next);
    }
    let inner = name.len() - 1;
    memchr::memchr_iter(b'.', name.as_bytes())
        .filter(|dot| (1..inner).contains(dot))
        .find_map(|dot| map.get(name.get(dot..)?).copied())
}

/// The client is on this host: a unix socket, 127.0.0.1, `::1`, or our own address.
fn is_same_or_loopback(facts: &Facts<'_>) -> bool {
    let Some(remote) = facts.remote else { return true };
    let loopback = match remote.ip() {
        // Only the canonical address, as in Envoy.
        IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST,
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    loopback || facts.local.is_some_and(|local| local.ip() == remote.ip())
}

impl Prefixes {
    fn find(&self, ip: IpAddr) -> Option<Next> {
        let maps = if ip.is_ipv4() { &self.v4 } else { &self.v6 };
        maps.iter().find_map(|(len, map)| map.get(&network(ip, *len)).copied())
    }

    fn insert(&mut self, ip: IpAddr, len: u8, next: Next) {
        let maps = if ip.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let at = match maps.binary_search_by(|(have, _)| len.cmp(have)) {
            Ok(at) => at,
            Err(at) => {
                maps.insert(at, (len, Map::default()));
                at
            }
        };
        if let Some((_, map)) = maps.get_mut(at) {
            map.insert(network(ip, len), next);
        }
    }
}

/// The first `len` bits of an address.
fn network(ip: IpAddr, len: u8) -> u128 {
    match ip {
        IpAddr::V4(ip) => {
            u128::from(ip.to_bits().checked_shr(32 - u32::from(len.min(32))).unwrap_or(0))
        }
        IpAddr::V6(ip) => ip.to_bits().checked_shr(128 - u32::from(len.min(128))).unwrap_or(0),
    }
}

/// The criteria, in the order they are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Level {
    DestinationPort,
    Destination,
    ServerName,
    TransportProtocol,
    ApplicationProtocol,
    DirectSource,
    SourceType,
    Source,
    SourcePort,
}

const LEVELS: [Level; 9] = [
    Level::DestinationPort,
    Level::Destination,
    Level::ServerName,
    Level::TransportProtocol,
    Level::ApplicationProtocol,
    Level::DirectSource,
    Level::SourceType,
    Level::Source,
    Level::SourcePort,
];

/// One value a chain asks for at one level.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// It does not ask.
    Any,
    Port(u16),
    /// A network, its other bits cleared, and its length.
    Prefix(IpAddr, u8),
    Text(Box<str>),
    Local,
    External,
}

impl Rules {
    fn keys(&self, level: Level) -> Vec<Key> {
        let ports = |ports: &[u16]| ports.iter().map(|port| Key::Port(*port)).collect();
        let texts = |texts: &[Box<str>]| texts.iter().map(|each| text(each)).collect();
        let keys: Vec<Key> = match level {
            Level::DestinationPort => ports(self.destination_port.as_slice()),
            Level::Destination => prefixes(&self.destination),
            Level::ServerName => texts(&self.server_names),
            Level::TransportProtocol => vec![text(&self.transport_protocol)],
            Level::ApplicationProtocol => texts(&self.application_protocols),
            Level::DirectSource => prefixes(&self.direct_source),
            Level::SourceType => vec![match self.source_type {
                SourceType::Any => Key::Any,
                SourceType::SameIpOrLoopback => Key::Local,
                SourceType::External => Key::External,
            }],
            Level::Source => prefixes(&self.source),
            Level::SourcePort => ports(&self.source_ports),
        };
        if keys.is_empty() { vec![Key::Any] } else { keys }
    }

    /// Asks for something at this level or a later one.
    fn asks_from(&self, depth: usize) -> bool {
        let mut levels = LEVELS.iter().skip(depth);
        levels.any(|level| self.keys(*level).iter().any(|key| *key != Key::Any))
    }
}

/// An empty text does not ask.
fn text(text: &str) -> Key {
    if text.is_empty() { Key::Any } else { Key::Text(Box::from(text)) }
}

fn prefixes(list: &[(IpAddr, u8)]) -> Vec<Key> {
    list.iter().map(|(ip, len)| Key::Prefix(masked(*ip, *len), *len)).collect()
}

/// The address with the bits beyond `len` cleared, so that equal networks are equal keys.
fn masked(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let kept = u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & kept))
        }
        IpAddr::V6(ip) => {
            let kept = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
            IpAddr::V6((ip.to_bits() & kept).into())
        }
    }
}

struct Builder<'a> {
    rules: &'a [Rules],
    nodes: Vec<Node>,
    /// What was built already: the same chains under another key share their nodes.
    known: HashMap<(usize, Vec<u32>), Next, RandomState>,
}

impl Builder<'_> {
    /// What decides among `chains`, all of which match up to this depth.
    fn build(&mut self, depth: usize, chains: Vec<u32>) -> Result<Next, Overlap> {
        let rules = |chain: &u32| self.rules.get(*chain as usize);
        let asks = |chain| rules(chain).is_some_and(|rules| rules.asks_from(depth));
        let Some(level) = LEVELS.get(depth).filter(|_| chains.iter().any(asks)) else {
            return match *chains.as_slice() {
                [one] => Ok(Next::Chain(one)),
                [first, second, ..] => Err(Overlap(first as usize, second as usize)),
                [] => Err(Overlap(0, 0)),
            };
        };
        if let Some(next) = self.known.get(&(depth, chains.clone())) {
            return Ok(*next);
        }
        let mut order: Vec<Key> = Vec::new();
        let mut groups: HashMap<Key, Vec<u32>, RandomState> = HashMap::default();
        for chain in &chains {
            for key in rules(chain).map(|rules| rules.keys(*level)).unwrap_or_default() {
                let group = groups.entry(key).or_insert_with_key(|key| {
                    order.push(key.clone());
                    Vec::new()
                });
                group.push(*chain);
            }
        }
        let mut node = Node { keys: Keys::new(*level), any: None };
        let mut asked = false;
        for key in order {
            let next = self.build(depth + 1, groups.remove(&key).unwrap_or_default())?;
            asked |= key != Key::Any;
            node.insert(key, next);
        }
        let next = match node.any {
            Some(any) if !asked => any,
            _ => {
                self.nodes.push(node);
                Next::Node(u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.known.insert((depth, chains), next);
        Ok(next)
    }
}

impl Keys {
    fn new(level: Level) -> Self {
        match level {
            Level::DestinationPort => Self::DestinationPort(Map::default()),
            Level::Destination => Self::Destination(Prefixes::default()),
            Level::ServerName => Self::ServerName(Map::default()),
            Level::TransportProtocol => Self::TransportProtocol(Map::default()),
            Level::ApplicationProtocol => Self::ApplicationProtocol(Map::default()),
            Level::DirectSource => Self::DirectSource(Prefixes::default()),
            Level::SourceType => Self::SourceType { local: None, external: None },
            Level::Source => Self::Source(Prefixes::default()),
            Level::SourcePort => Self::SourcePort(Map::default()),
        }
    }
}

impl Node {
    fn insert(&mut self, key: Key, next: Next) {
        match (&mut self.keys, key) {
            (Keys::DestinationPort(map) | Keys::SourcePort(map), Key::Port(port)) => {
                map.insert(port, next);
            }
            (
                Keys::Destination(map) | Keys::DirectSource(map) | Keys::Source(map),
                Key::Prefix(ip, len),
            ) => map.insert(ip, len, next),
            (Keys::ServerName(map) | Keys::TransportProtocol(map), Key::Text(text)) => {
                map.insert(text, next);
            }
            (Keys::ApplicationProtocol(map), Key::Text(text)) => {
                map.insert(text.into_boxed_bytes(), next);
            }
            (Keys::SourceType { local, .. }, Key::Local) => *local = Some(next),
            (Keys::SourceType { external, .. }, Key::External) => *external = Some(next),
            // Keys of a level are those its rules give; what is left does not ask.
            (_, _) => self.any = Some(next),
        }
    }
}
