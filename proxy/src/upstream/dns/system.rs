//! What the system knows about names: `/etc/resolv.conf` (resolv.conf(5)) and `/etc/hosts`
//! (hosts(5)).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Servers and rules of `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver`, in order, at most three as in the C library.
    pub servers: Vec<SocketAddr>,
    /// `search` or `domain`.
    pub search: Vec<String>,
    /// `options ndots:n`: a name with fewer dots is tried with the search list first.
    pub ndots: usize,
    /// `options timeout:n`: how long one server is waited for.
    pub timeout: Duration,
    /// `options attempts:n`: rounds through the servers.
    pub attempts: u32,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        }
    }
}

const SERVERS_MAX: usize = 3;
const DNS_PORT: u16 = 53;

impl ResolvConf {
    /// The system's; without the file, the server on this machine.
    pub fn load(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    /// Reads the text of such a file. Lines and options it does not know are skipped, as everybody
    /// does.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(server)),
                Some("domain" | "search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf.servers.truncate(SERVERS_MAX);
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
        }
        conf
    }

    /// The limits are those of the C library.
    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The absolute names to try for a name, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let plain = || name.to_owned();
        if name.bytes().filter(|&byte| byte == b'.').count() >= self.ndots {
            std::iter::once(plain()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(plain())).collect()
        }
    }
}

/// An address with an optional scope, which is not used.
fn server(word: &str) -> Option<SocketAddr> {
    let ip: IpAddr = word.split('%').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, DNS_PORT))
}

/// The addresses of a name in the text of `/etc/hosts`, in order, none twice. `localhost` is known
/// even where the file does not say so (RFC 6761 section 6.3).
pub fn hosts_lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|alias| alias.eq_ignore_ascii_case(name)) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    let lower = name.to_ascii_lowercase();
    if found.is_empty() && (lower == "localhost" || lower.ends_with(".localhost")) {
        found = vec![Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()];
    }
    found
}
