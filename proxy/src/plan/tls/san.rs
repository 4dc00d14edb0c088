//! Matching of subject alternative names.

use crate::plan::certificate::{Certificate, San};
use crate::plan::route::StringMatch;

/// Kind of a name that a matcher looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SanKind {
    /// Host names.
    Dns,
    /// URIs.
    Uri,
    /// Mail addresses.
    Email,
    /// IP addresses.
    Ip,
    /// Other names of this OID.
    Other(Box<str>),
}

/// `SubjectAltNameMatcher`.
#[derive(Debug, Clone)]
pub struct SanMatch {
    /// Which names.
    pub kind: SanKind,
    /// What they must be.
    pub matcher: StringMatch,
}

impl SanMatch {
    /// Whether one of the certificate's names matches.
    pub fn matches(&self, facts: &Certificate) -> bool {
        facts.sans.iter().any(|san| self.matches_one(san))
    }

    fn matches_one(&self, san: &San) -> bool {
        match (&self.kind, san) {
            (SanKind::Dns, San::Dns(name)) => match &self.matcher {
                // The certificate may speak of many hosts at once.
                StringMatch::Exact(wanted, _) => dns_matches(wanted, name),
                other => other.matches(name.as_bytes()),
            },
            (SanKind::Uri, San::Uri(text))
            | (SanKind::Email, San::Email(text))
            | (SanKind::Ip, San::Ip(text)) => self.matcher.matches(text.as_bytes()),
            (SanKind::Other(wanted), San::Other(oid, text)) => {
                wanted == oid && self.matcher.matches(text.as_bytes())
            }
            _ => false,
        }
    }
}

/// Whether a certificate's host name, which may begin with a wildcard label, covers `name`
/// (RFC 6125 section 6.4.3).
pub(super) fn dns_matches(name: &str, pattern: &str) -> bool {
    if name.eq_ignore_ascii_case(pattern) {
        return true;
    }
    let Some((label, suffix)) = pattern.split_once('.') else { return false };
    let Some((host, parent)) = name.split_once('.') else { return false };
    if !suffix.contains('.') || !parent.eq_ignore_ascii_case(suffix) || host.is_empty() {
        return false;
    }
    // A wildcard in part of a label, as in `w*.example.com`, but not in an internationalised one.
    let Some((before, after)) = label.split_once('*') else { return false };
    if after.contains('*') || (label.len() > 1 && label.get(..4) == Some("xn--")) {
        return false;
    }
    let host = host.to_ascii_lowercase();
    let (before, after) = (before.to_ascii_lowercase(), after.to_ascii_lowercase());
    host.len() >= before.len() + after.len() && host.starts_with(&before) && host.ends_with(&after)
}
