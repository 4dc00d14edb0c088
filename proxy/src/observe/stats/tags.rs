//! Tags: the variable parts of a statistic's name, taken out as Envoy's default extractors do.
//!
//! The rules are what `envoy.config.metrics.v3.StatsConfig` documents as the built-in tags;
//! `stats_tags` of the bootstrap may replace them or add to them.

mod names;
mod regex;
mod shape;

use std::ops::Range;

use smallvec::SmallVec;

pub use self::regex::TagRegex;
pub use names::is_default;
pub(super) use shape::OWNER;

/// A tag of `stats_tags`.
#[derive(Debug, Clone)]
pub enum CustomTag {
    /// By a regular expression: its first group is cut out of the name, its second (or first)
    /// group is the value.
    Regex {
        /// Name of the tag.
        name: String,
        /// The expression.
        regex: TagRegex,
    },
    /// A tag of every statistic.
    Fixed {
        /// Name of the tag.
        name: String,
        /// Its value.
        value: String,
    },
}

/// Which tags are extracted.
#[derive(Debug, Clone, Default)]
pub struct TagRules {
    custom: Vec<CustomTag>,
    /// Envoy's own, by name; all if `None`.
    only: Option<Vec<String>>,
    /// Envoy's own that tags of the bootstrap stand for (`allow_default_tag_overrides`).
    overridden: Vec<String>,
}

/// Begins the names of statistics that carry their labels with them, as [`label_into`] writes them:
/// nothing has to be guessed out of their names. They are not Envoy's own, so Prometheus gets them
/// without `envoy_`.
pub const LABELLED: &str = "istiocustom.";

/// Before the name of a label, and before its value. Pages for people have dots there.
const LABEL: char = '\u{2}';
const VALUE: char = '\u{3}';

/// Appends a label to a name that begins with [`LABELLED`].
pub fn label_into(label: &str, value: &str, name: &mut String) {
    let free = |c: &char| *c != LABEL && *c != VALUE;
    name.push(LABEL);
    name.push_str(label);
    name.push(VALUE);
    name.extend(value.chars().filter(free));
}

/// A name for people: labels are parts of it like any other, and empty values are left out.
pub fn shown_into(name: &str, out: &mut String) {
    for part in name.split([LABEL, VALUE]).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(part);
    }
}

/// The name without its labels, and the labels.
fn labelled<'a>(name: &'a str, base: &mut String, tags: &mut Vec<Tag<'a>>) {
    let mut parts = name.split(LABEL);
    base.push_str(parts.next().unwrap_or_default());
    tags.extend(parts.filter_map(|part| part.split_once(VALUE)));
}

/// A tag: name (with `_` for what Prometheus does not allow) and value.
pub type Tag<'a> = (&'a str, &'a str);

impl TagRules {
    /// Rules of a bootstrap. `defaults`: `use_all_default_tags`; `named`: tags of `stats_tags`
    /// that have neither regex nor value and so mean the default of that name.
    pub fn new(custom: Vec<CustomTag>, defaults: bool, named: Vec<String>) -> Self {
        let custom = custom.into_iter().map(|tag| match tag {
            CustomTag::Regex { name, regex } => CustomTag::Regex { name: mangled(&name), regex },
            CustomTag::Fixed { name, value } => CustomTag::Fixed { name: mangled(&name), value },
        });
        let only = (!defaults).then(|| named.iter().map(|name| mangled(name)).collect());
        Self { custom: custom.collect(), only, overridden: Vec::new() }
    }

    /// Leaves out Envoy's own tags that have the name of a custom one
    /// (`allow_default_tag_overrides`).
    #[must_use]
    pub fn with_overrides(mut self) -> Self {
        let names = self.custom.iter().map(|tag| match tag {
            CustomTag::Regex { name, .. } | CustomTag::Fixed { name, .. } => name.clone(),
        });
        self.overridden = names.collect();
        self
    }

    /// Whether one of Envoy's own tags is taken out of names that have it.
    fn takes(&self, tag: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == tag))
            && !self.overridden.iter().any(|name| name == tag)
    }

    /// Takes the tags out of `name`: what is left goes to `base`, the tags to `tags`, in Envoy's
    /// order (those that apply to any name, those that depend on its first part; the built-in ones
    /// first). The first tag of a name counts.
    pub fn extract<'a>(&'a self, name: &'a str, base: &mut String, tags: &mut Vec<Tag<'a>>) {
        base.clear();
        tags.clear();
        if name.starts_with(LABELLED) {
            return labelled(name, base, tags);
        }
        let mut found = Found { name, tags, cut: SmallVec::new(), rules: self };
        found.response_code();
        found.worker();
        self.own(false, &mut found);
        found.by_first_part();
        self.own(true, &mut found);
        found.rest(base);
    }

    /// Tags of the bootstrap in their order. Envoy looks at an expression that begins with
    /// `^part\.` only for names of that part, and after all others; to it, a fixed value is an
    /// expression for all names.
    fn own<'a>(&'a self, anchored: bool, found: &mut Found<'a, '_>) {
        for tag in &self.custom {
            let (name, regex) = match tag {
                CustomTag::Fixed { name, value } => {
                    if !anchored && !found.has(name) {
                        found.tags.push((name, value));
                    }
                    continue;
                }
                CustomTag::Regex { name, regex } => (name, regex),
            };
            if regex.is_anchored() != anchored || found.has(name) {
                continue;
            }
            let Some((cut, value)) = regex.find(found.name) else { continue };
            let Some(value) = found.name.get(value) else { continue };
            // Dots at the end of anything that is a name say nothing.
            found.tags.push((name, value.trim_end_matches('.')));
            found.cut.push(cut);
        }
    }
}

/// `_` for every byte that Prometheus does not allow in a name.
pub fn mangled(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    mangle_into(name, &mut out);
    out
}

/// Appends the mangled name.
pub(super) fn mangle_into(name: &str, out: &mut String) {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for c in name.chars() {
        if ok(c) {
            out.push(c);
        } else {
            // Bytes count, as the expression that Envoy replaces with knows no characters.
            out.extend(std::iter::repeat_n('_', c.len_utf8()));
        }
    }
}

/// Patterns over the parts of a name: `*` any part, `$` the value, `**` any number of parts. By
/// first part, in the order in which tags are listed.
const PATTERNS: &[(&str, &[(&str, &str)])] = &[
    (
        "mongo",
        &[
            ("envoy_mongo_callsite", "*.collection.*.callsite.$.query.**"),
            ("envoy_mongo_collection", "*.collection.$.**.query.*"),
            ("envoy_mongo_cmd", "*.cmd.$.**"),
            ("envoy_mongo_prefix", "$.**"),
        ],
    ),
    (
        "cluster",
        &[
            ("envoy_grpc_bridge_method", "*.grpc.*.$.**"),
            ("envoy_grpc_bridge_service", "*.grpc.$.**"),
            ("envoy_cluster_name", "$.**"),
            ("envoy_ext_authz_prefix", "*.ext_authz.$.**"),
        ],
    ),
    (
        "http",
        &[
            ("envoy_http_user_agent", "*.user_agent.$.**"),
            ("envoy_fault_downstream_cluster", "*.fault.$.**"),
            ("envoy_ext_authz_prefix", "*.ext_authz.$.**"),
            ("envoy_http_conn_manager_prefix", "$.**"),
        ],
    ),
    (
        "vhost",
        &[
            ("envoy_virtual_cluster", "*.vcluster.$.**"),
            ("envoy_virtual_host", "$.**"),
            ("envoy_route", "*.route.$.**"),
        ],
    ),
    ("tcp", &[("envoy_tcp_prefix", "$.**")]),
    ("udp", &[("envoy_udp_prefix", "$.**")]),
    ("auth", &[("envoy_clientssl_prefix", "clientssl.$.**")]),
    ("ratelimit", &[("envoy_ratelimit_prefix", "$.**")]),
    ("thrift", &[("envoy_thrift_prefix", "$.**")]),
    ("redis", &[("envoy_redis_prefix", "$.**")]),
    ("connection_limit", &[("envoy_connection_limit_prefix", "$.**")]),
    ("local_rate_limit", &[("envoy_local_network_ratelimit_prefix", "$.**")]),
    ("listener_local_ratelimit", &[("envoy_local_listener_ratelimit_prefix", "$.**")]),
    ("dns_filter", &[("envoy_dns_filter_prefix", "$.**")]),
];

struct Found<'a, 't> {
    name: &'a str,
    tags: &'t mut Vec<Tag<'a>>,
    cut: SmallVec<[Range<usize>; 4]>,
    rules: &'a TagRules,
}

impl<'a> Found<'a, '_> {
    fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|(name, _)| *name == tag)
    }

    fn add(&mut self, tag: &'static str, value: Range<usize>, cut: Range<usize>) {
        let wanted = self.rules.takes(tag) && !self.has(tag);
        if let Some(value) = self.name.get(value).filter(|_| wanted) {
            self.tags.push((tag, value));
            self.cut.push(cut);
        }
    }

    /// `…_rq_200` and `…_rq_2xx`.
    fn response_code(&mut self) {
        let end = self.name.len();
        let Some(tail) = end.checked_sub(4).and_then(|at| self.name.as_bytes().get(at..)) else {
            return;
        };
        if !self.name.get(..end - 4).is_some_and(|head| head.ends_with("_rq")) {
            return;
        }
        match tail {
            [b'_', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
                self.add("envoy_response_code", end - 3..end, end - 4..end);
            }
            [b'_', b'0'..=b'9', b'x', b'x'] => {
                self.add("envoy_response_code_class", end - 3..end - 2, end - 3..end - 2);
            }
            _ => {}
        }
    }

    /// `worker_<n>.` after the parts that have one.
    fn worker(&mut self) {
        let start = if let Some(rest) = self.name.strip_prefix("listener.") {
            "listener.".len() + listener_value(rest).map_or(0, |len| len + 1)
        } else {
            const OWNERS: [&str; 3] =
                ["server.", "listener_manager.", "thread_local_cluster_manager."];
            match OWNERS.iter().find(|owner| self.name.starts_with(**owner)) {
                Some(owner) => owner.len(),
                None => return,
            }
        };
        let Some(rest) = self.name.get(start..).and_then(|rest| rest.strip_prefix("worker_"))
        else {
            return;
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && rest.as_bytes().get(digits) == Some(&b'.') {
            let at = start + "worker_".len();
            self.add("envoy_worker_id", at..at + digits, at..at + digits + 1);
        }
    }

    fn by_first_part(&mut self) {
        let Some((first, rest)) = self.name.split_once('.') else { return };
        let offset = first.len() + 1;
        match first {
            "listener" => return self.listener(rest, offset),
            "cluster" => self.tls(offset),
            "http" => self.rds(rest, offset),
            "proxy_proto" => return self.proxy_protocol(rest, offset),
            _ if rest.starts_with("http_local_rate_limit.") => {
                self.add("envoy_local_http_ratelimit_prefix", 0..first.len(), 0..offset);
            }
            _ => {}
        }
        let Some((_, patterns)) = PATTERNS.iter().find(|(part, _)| *part == first) else { return };
        for (tag, pattern) in *patterns {
            if let Some(value) = match_parts(rest, pattern) {
                let (start, end) = (offset + value.start, offset + value.end);
                let cut = if end < self.name.len() { start..end + 1 } else { start - 1..end };
                self.add(tag, start..end, cut);
            }
        }
    }

    fn listener(&mut self, rest: &str, offset: usize) {
        self.tls(offset);
        let mut from = 0;
        while let Some(at) = rest.get(from..).and_then(|tail| tail.find(".http.")) {
            let start = from + at + ".http.".len();
            let value = rest.get(start..).unwrap_or_default();
            match value.find('.') {
                Some(len) if len > 0 => {
                    let start = offset + start;
                    let tag = "envoy_http_conn_manager_prefix";
                    self.add(tag, start..start + len, start..start + len + 1);
                    break;
                }
                _ => from = start - 1,
            }
        }
        if let Some(len) = listener_value(rest)
            && rest.get(..len) != Some("admin")
        {
            self.add("envoy_listener_address", offset..offset + len, offset..offset + len + 1);
        }
    }

    /// `….ssl.ciphers.<value>` and its like, at the end of a name.
    fn tls(&mut self, offset: usize) {
        let Some(dot) = self.name.rfind('.').filter(|dot| *dot > offset) else { return };
        let head = self.name.get(..dot).unwrap_or_default();
        let cluster = self.name.starts_with("cluster.");
        let tag = match head.rsplit_once(".ssl.").map(|(_, kind)| kind) {
            Some("ciphers") if cluster => "cipher_suite",
            Some("ciphers") => "envoy_ssl_cipher",
            Some("curves") => "envoy_ssl_curve",
            Some("sigalgs") => "envoy_ssl_sigalg",
            Some("versions") => "envoy_ssl_version",
            _ => return,
        };
        self.add(tag, dot + 1..self.name.len(), dot..self.name.len());
    }

    /// `http.<prefix>.rds.<route configuration>.<stat>`; the configuration's name may have dots.
    fn rds(&mut self, rest: &str, offset: usize) {
        let Some(prefix) = rest.find('.') else { return };
        let Some(value) = rest.get(prefix..).and_then(|tail| tail.strip_prefix(".rds.")) else {
            return;
        };
        let Some(len) = value.rfind('.').filter(|len| *len > 0) else { return };
        let start = offset + prefix + ".rds.".len();
        self.add("envoy_rds_route_config", start..start + len, start..start + len + 1);
    }

    /// `proxy_proto.<prefix>.versions.v<n>.<stat>`; a filter without a prefix has none here.
    fn proxy_protocol(&mut self, rest: &str, offset: usize) {
        let mut start = 0;
        if let Some(len) = rest.find('.').filter(|len| rest.get(..*len) != Some("versions")) {
            let tag = "envoy_proxy_protocol_prefix";
            self.add(tag, offset..offset + len, offset..offset + len + 1);
            start = len + 1;
        }
        let version = rest.get(start..).and_then(|tail| tail.strip_prefix("versions.v"));
        if let Some([digit, b'.', name @ ..]) = version.map(str::as_bytes)
            && digit.is_ascii_digit()
            && !name.contains(&b'.')
        {
            let at = offset + start + "versions.v".len();
            self.add("envoy_proxy_protocol_version", at..at + 1, offset + start..at + 2);
        }
    }

    fn rest(&mut self, base: &mut String) {
        self.cut.sort_by_key(|range| range.start);
        let mut at = 0;
        for range in &self.cut {
            if range.start > at {
                base.push_str(self.name.get(at..range.start).unwrap_or_default());
            }
            at = at.max(range.end);
        }
        base.push_str(self.name.get(at..).unwrap_or_default());
        base.truncate(base.trim_end_matches('.').len());
    }
}

/// Length of the address (IPv4 with dots, or IPv6 in brackets, with `_port`) or the one part that
/// a listener's name begins with, if a dot follows.
fn listener_value(rest: &str) -> Option<usize> {
    let address = rest.find('_').and_then(|underscore| {
        let ip = rest.get(..underscore)?;
        let v4 = ip.split('.').count() == 4
            && ip.split('.').all(|n| n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit()));
        let port = rest.get(underscore + 1..)?;
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        (v4 && digits > 0).then_some(underscore + 1 + digits)
    });
    let len = match address {
        Some(len) => len,
        None => rest.find('.').filter(|len| *len > 0)?,
    };
    (rest.as_bytes().get(len) == Some(&b'.')).then_some(len)
}

/// Where `$` of the pattern is in `text`.
fn match_parts(text: &str, pattern: &str) -> Option<Range<usize>> {
    let mut value = None;
    let matched = match_from(text, 0, pattern, &mut value);
    value.filter(|_| matched)
}

fn match_from(text: &str, at: usize, pattern: &str, value: &mut Option<Range<usize>>) -> bool {
    let (want, later) = match pattern.split_once('.') {
        Some((want, later)) => (want, Some(later)),
        None => (pattern, None),
    };
    let rest = text.get(at..);
    if want == "**" {
        let Some(later) = later else { return rest.is_some() };
        let mut at = at;
        loop {
            if match_from(text, at, later, value) {
                return true;
            }
            match text.get(at..).and_then(|rest| rest.find('.')) {
                Some(dot) => at += dot + 1,
                None => return false,
            }
        }
    }
    let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return false };
    let len = rest.find('.').unwrap_or(rest.len());
    match want {
        "$" => *value = Some(at..at + len),
        "*" => {}
        word if rest.get(..len) == Some(word) => {}
        _ => return false,
    }
    match (later, len == rest.len()) {
        (None, end) => end,
        (Some("**"), true) => true,
        (Some(later), false) => match_from(text, at + len + 1, later, value),
        (Some(_), true) => false,
    }
}
