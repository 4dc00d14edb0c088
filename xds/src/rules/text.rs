//! Rules of strings and bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use regex::Regex;

use super::Checker;
use super::bounds::passes;
use crate::api::validate::string_rules::WellKnown;
use crate::api::validate::{BytesRules, KnownRegex, StringRules};

impl Checker {
    pub(super) fn string(&mut self, text: &str, rules: &StringRules) {
        if passes(rules.ignore_empty, text.is_empty()) {
            return;
        }
        if let Some(wanted) = rules.r#const.as_deref().filter(|wanted| *wanted != text) {
            self.broken(format!("value must equal {wanted}"));
        }
        let characters = text.chars().count() as u64;
        let (min, max) = (rules.len.or(rules.min_len), rules.len.or(rules.max_len));
        self.length(characters, min, max, "characters");
        let (min, max) = (rules.len_bytes.or(rules.min_bytes), rules.len_bytes.or(rules.max_bytes));
        self.length(text.len() as u64, min, max, "bytes");
        self.parts(text, rules);
        let found = text.to_owned();
        self.listed(&found, &rules.r#in, &rules.not_in);
        if let Some(pattern) = &rules.pattern {
            self.pattern(text, pattern);
        }
        if let Some(known) = &rules.well_known {
            self.well_known(text, *known, rules.strict != Some(false));
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8], rules: &BytesRules) {
        if passes(rules.ignore_empty, bytes.is_empty()) {
            return;
        }
        let (min, max) = (rules.len.or(rules.min_len), rules.len.or(rules.max_len));
        self.length(bytes.len() as u64, min, max, "bytes");
        if rules.r#const.as_deref().is_some_and(|wanted| wanted != bytes) {
            self.broken("value must equal the given bytes");
        }
        if rules.prefix.as_deref().is_some_and(|prefix| !bytes.starts_with(prefix)) {
            self.broken("value does not have the given prefix");
        }
        if rules.suffix.as_deref().is_some_and(|suffix| !bytes.ends_with(suffix)) {
            self.broken("value does not have the given suffix");
        }
    }

    fn length(&mut self, found: u64, min: Option<u64>, max: Option<u64>, unit: &str) {
        let short = min.is_some_and(|min| found < min);
        let long = max.is_some_and(|max| found > max);
        if !short && !long {
            return;
        }
        self.broken(match (min, max) {
            (Some(min), Some(max)) if min == max => format!("value length must be {min} {unit}"),
            (Some(min), Some(max)) => {
                format!("value length must be between {min} and {max} {unit}, inclusive")
            }
            (Some(min), None) => format!("value length must be at least {min} {unit}"),
            (None, max) => {
                format!("value length must be at most {} {unit}", max.unwrap_or_default())
            }
        });
    }

    fn parts(&mut self, text: &str, rules: &StringRules) {
        if let Some(prefix) = rules.prefix.as_deref().filter(|prefix| !text.starts_with(*prefix)) {
            self.broken(format!("value does not have prefix \"{prefix}\""));
        }
        if let Some(suffix) = rules.suffix.as_deref().filter(|suffix| !text.ends_with(*suffix)) {
            self.broken(format!("value does not have suffix \"{suffix}\""));
        }
        if let Some(part) = rules.contains.as_deref().filter(|part| !text.contains(*part)) {
            self.broken(format!("value does not contain substring \"{part}\""));
        }
        if let Some(part) = rules.not_contains.as_deref().filter(|part| text.contains(*part)) {
            self.broken(format!("value contains substring \"{part}\""));
        }
    }

    /// RE2 and the regex crate read the patterns of Envoy's protos alike; one that did not parse
    /// would be a fault of the table, not of the value, and passes.
    fn pattern(&mut self, text: &str, pattern: &str) {
        let regex =
            self.patterns.entry(pattern.to_owned()).or_insert_with(|| Regex::new(pattern).ok());
        if regex.as_ref().is_some_and(|regex| !regex.is_match(text)) {
            self.broken(format!("value does not match regex pattern \"{pattern}\""));
        }
    }

    fn well_known(&mut self, text: &str, known: WellKnown, strict: bool) {
        let (fits, words) = match known {
            WellKnown::WellKnownRegex(kind) => {
                if let Some(pattern) = header_mismatch(text, kind, strict) {
                    self.broken(format!("value does not match regex pattern \"{pattern}\""));
                }
                return;
            }
            WellKnown::Ip(_) => (text.parse::<IpAddr>().is_ok(), "a valid IP address"),
            WellKnown::Ipv4(_) => (text.parse::<Ipv4Addr>().is_ok(), "a valid IPv4 address"),
            WellKnown::Ipv6(_) => (text.parse::<Ipv6Addr>().is_ok(), "a valid IPv6 address"),
            WellKnown::Hostname(_) => (is_hostname(text), "a valid hostname"),
            WellKnown::Address(_) => (
                is_hostname(text) || text.parse::<IpAddr>().is_ok(),
                "a valid hostname, or ip address",
            ),
            WellKnown::Email(_) => (is_email(text), "a valid email address"),
            WellKnown::Uri(_) => (is_uri(text) && has_scheme(text), "a valid URI"),
            WellKnown::UriRef(_) => (is_uri(text), "a valid URI reference"),
            WellKnown::Uuid(_) => (is_uuid(text), "a valid UUID"),
        };
        if !fits {
            self.broken(format!("value must be {words}"));
        }
    }
}

/// The pattern of a header name or value that `text` does not match.
fn header_mismatch(text: &str, kind: i32, strict: bool) -> Option<&'static str> {
    let never = |c: char| matches!(c, '\0' | '\n' | '\r');
    let (fits, pattern) = match (KnownRegex::try_from(kind).ok()?, strict) {
        (KnownRegex::HttpHeaderName, true) => {
            let name = text.strip_prefix(':').unwrap_or(text);
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_|~`".contains(c);
            let fits = !name.is_empty() && name.chars().all(token);
            (fits, "^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$")
        }
        (KnownRegex::HttpHeaderValue, true) => {
            let control = |c: char| c != '\t' && (c < ' ' || c == '\u{7f}');
            (!text.contains(control), "^[^\\x00-\\x08\\n-\\x1f\\x7f]*$")
        }
        (KnownRegex::HttpHeaderName | KnownRegex::HttpHeaderValue, false) => {
            (!text.contains(never), "^[^\\x00\\n\\r]*$")
        }
        (KnownRegex::Unknown, _) => (true, ""),
    };
    (!fits).then_some(pattern)
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_email(text: &str) -> bool {
    text.len() <= 254
        && text
            .rsplit_once('@')
            .is_some_and(|(local, host)| (1..=64).contains(&local.len()) && is_hostname(host))
}

fn is_uri(text: &str) -> bool {
    !text.bytes().any(|b| b <= b' ' || b == 0x7f || b"<>\"{}|\\^`".contains(&b))
}

fn has_scheme(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}
