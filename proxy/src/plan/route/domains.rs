//! Which virtual host takes an authority.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

/// Index of `VirtualHost.domains`: exact > longest suffix (`*.x`) > longest prefix (`x.*`) > `*`.
/// Domains and authorities are compared without regard to case.
#[derive(Debug, Default)]
pub(super) struct Domains {
    exact: HashMap<Arc<str>, u32, RandomState>,
    suffixes: ByLength,
    prefixes: ByLength,
    any: Option<u32>,
}

/// Wildcard domains without their star, by length, longest first.
type ByLength = Vec<(usize, HashMap<Arc<str>, u32, RandomState>)>;

/// Why a domain cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A second `*`.
    #[error("only a single wildcard domain is permitted in a route configuration")]
    SecondWildcard,
    /// The same domain again.
    #[error("only unique values for domains are permitted, '{0}' is a duplicate")]
    Duplicate(String),
}

impl Domains {
    /// Lets `host` answer for `domain`.
    pub(super) fn add(&mut self, domain: &str, host: u32) -> Result<(), DomainError> {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            if self.any.is_some() {
                return Err(DomainError::SecondWildcard);
            }
            self.any = Some(host);
            return Ok(());
        }
        let previous = if let Some(suffix) = domain.strip_prefix('*') {
            of_length(&mut self.suffixes, suffix.len()).insert(Arc::from(suffix), host)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            of_length(&mut self.prefixes, prefix.len()).insert(Arc::from(prefix), host)
        } else {
            self.exact.insert(Arc::from(domain.as_str()), host)
        };
        match previous {
            None => Ok(()),
            Some(_) => Err(DomainError::Duplicate(domain)),
        }
    }

    /// The virtual host that takes `authority`, whose port is cut off first if `ignore_port`.
    pub(super) fn find(&self, authority: Option<&[u8]>, ignore_port: bool) -> Option<u32> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let authority = authority?;
        let authority = if ignore_port { without_port(authority) } else { authority };
        self.named(authority).or(self.any)
    }

    fn named(&self, authority: &[u8]) -> Option<u32> {
        let mut lower: SmallVec<[u8; 256]> = SmallVec::from_slice(authority);
        lower.make_ascii_lowercase();
        // A domain is text: an authority that is not can only be taken by `*`, or by a wildcard
        // whose part is text.
        let find = |map: &HashMap<Arc<str>, u32, RandomState>, part: &[u8]| {
            str::from_utf8(part).ok().and_then(|part| map.get(part).copied())
        };
        if let Some(host) = find(&self.exact, &lower) {
            return Some(host);
        }
        // A wildcard stands for at least one character.
        let suffix = self.suffixes.iter().find_map(|(len, map)| {
            let at = lower.len().checked_sub(*len).filter(|at| *at > 0)?;
            find(map, lower.get(at..)?)
        });
        suffix.or_else(|| {
            let shorter = self.prefixes.iter().filter(|(len, _)| *len < lower.len());
            shorter.into_iter().find_map(|(len, map)| find(map, lower.get(..*len)?))
        })
    }
}

/// `authority` without `:port`; colons inside an IPv6 literal do not count.
pub fn without_port(authority: &[u8]) -> &[u8] {
    let Some(colon) = memchr::memrchr(b':', authority) else { return authority };
    match memchr::memrchr(b']', authority) {
        Some(bracket) if bracket > colon => authority,
        _ => authority.get(..colon).unwrap_or(authority),
    }
}

fn of_length(lengths: &mut ByLength, len: usize) -> &mut HashMap<Arc<str>, u32, RandomState> {
    let at = lengths.partition_point(|(other, _)| *other > len);
    if lengths.get(at).is_none_or(|(other, _)| *other != len) {
        lengths.insert(at, (len, HashMap::default()));
    }
    &mut lengths[at].1
}
