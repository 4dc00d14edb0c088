//! Names of resources, and the `xdstp://` names among them (xRFC TP1).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::types;

const SCHEME: &str = "xdstp://";

/// The parts of `xdstp://AUTHORITY/TYPE/ID?KEY=VALUE&…`, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xdstp {
    /// Who answers for it; may be empty.
    pub authority: String,
    /// A message type, as `envoy.config.cluster.v3.Cluster`.
    pub resource_type: String,
    /// May contain `/`.
    pub id: String,
    /// Part of the identity, in whatever order they are written.
    pub context: BTreeMap<String, String>,
}

impl Xdstp {
    /// Parses a name that begins with `xdstp://`.
    ///
    /// # Errors
    /// Why it is no name of one resource, in a sentence.
    pub fn parse(name: &str) -> Result<Self, String> {
        let rest = name
            .strip_prefix(SCHEME)
            .ok_or_else(|| format!("`{}` does not begin with {SCHEME}", start(name)))?;
        if rest.contains('#') {
            return Err(
                "directives (`#…`) are not part of a resource's name: leave them out".into()
            );
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut parts = path.splitn(3, '/');
        let (authority, kind) = (parts.next().unwrap_or_default(), parts.next());
        let resource_type = kind
            .filter(|kind| !kind.is_empty())
            .ok_or("it has no resource type: write xdstp://authority/type/id")?;
        let id = decode(parts.next().unwrap_or_default())?;
        if id == "*" || id.ends_with("/*") || resource_type.ends_with("Collection") {
            return Err("collections of resources are not supported: name each resource, or use \
                        a wildcard subscription"
                .into());
        }
        Ok(Self {
            authority: decode(authority)?,
            resource_type: resource_type.to_owned(),
            id,
            context: context(query)?,
        })
    }

    /// The one way to write it: context parameters sorted by key, only what must be is escaped.
    pub fn canonical(&self) -> String {
        let mut out = SCHEME.to_owned();
        encode(&mut out, &self.authority, "%/?#");
        out.push('/');
        out.push_str(&self.resource_type);
        if !self.id.is_empty() {
            out.push('/');
            encode(&mut out, &self.id, "%:?#[]");
        }
        for (at, (key, value)) in self.context.iter().enumerate() {
            out.push(if at == 0 { '?' } else { '&' });
            encode(&mut out, key, "%#[]&=");
            out.push('=');
            encode(&mut out, value, "%#[]&=");
        }
        out
    }
}

/// The canonical form of any name: only `xdstp://` names have another.
pub(crate) fn canonical(name: &str) -> Result<Cow<'_, str>, String> {
    if !name.starts_with(SCHEME) {
        return Ok(Cow::Borrowed(name));
    }
    let canonical = Xdstp::parse(name)?.canonical();
    Ok(if canonical == name { Cow::Borrowed(name) } else { Cow::Owned(canonical) })
}

/// The canonical form of a name we subscribe to: an `xdstp://` name gets the context parameters
/// that it does not have itself.
pub(crate) fn with_context(
    name: &Arc<str>,
    params: &[(String, String)],
) -> Result<Arc<str>, String> {
    if !name.starts_with(SCHEME) {
        return Ok(Arc::clone(name));
    }
    let mut parsed = Xdstp::parse(name)?;
    for (key, value) in params {
        parsed.context.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let canonical = parsed.canonical();
    Ok(if canonical == **name { Arc::clone(name) } else { canonical.into() })
}

/// The beginning of a name, for messages.
pub(crate) fn start(name: &str) -> &str {
    name.get(..name.floor_char_boundary(200)).unwrap_or_default()
}

/// What one resource of the type is called.
pub(crate) fn noun(type_url: &str) -> &str {
    match type_url {
        types::CLUSTER => "cluster",
        types::LISTENER => "listener",
        _ => type_url.rsplit('.').next().unwrap_or(type_url),
    }
}

fn context(query: &str) -> Result<BTreeMap<String, String>, String> {
    let mut params = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("the context parameter `{}` has no `=`", start(pair)))?;
        if params.insert(decode(key)?, decode(value)?).is_some() {
            return Err(format!("the context parameter `{}` is given twice", start(key)));
        }
    }
    Ok(params)
}

fn decode(text: &str) -> Result<String, String> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let value = digits
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|two| u8::from_str_radix(two, 16).ok())
            .ok_or_else(|| format!("`{}`: `%` is not followed by two digits", start(text)))?;
        bytes.push(value);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| format!("`{}` stands for no UTF-8", start(text)))
}

fn encode(out: &mut String, text: &str, reserved: &str) {
    for c in text.chars() {
        if c.is_ascii() && (reserved.contains(c) || c <= ' ' || c == '\x7f') {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_parameters_have_one_order() {
        let name = "xdstp://a.example/envoy.config.cluster.v3.Cluster/x/y?b=2&a=1%261";
        let parsed = Xdstp::parse(name).unwrap();
        assert_eq!(parsed.authority, "a.example");
        assert_eq!(parsed.id, "x/y");
        assert_eq!(parsed.context["a"], "1&1");
        let canonical = "xdstp://a.example/envoy.config.cluster.v3.Cluster/x/y?a=1%261&b=2";
        assert_eq!(parsed.canonical(), canonical);
        assert_eq!(Xdstp::parse(canonical).unwrap(), parsed);
        assert_eq!(canonical_of("plain?b=2&a=1"), "plain?b=2&a=1");
    }

    #[test]
    fn the_node_adds_context_but_does_not_override() {
        let node = [("a".to_owned(), "node".to_owned()), ("z".to_owned(), "9".to_owned())];
        let named = with_context(&Arc::from("xdstp://x/t/i?a=own"), &node).unwrap();
        assert_eq!(&*named, "xdstp://x/t/i?a=own&z=9");
        assert_eq!(&*with_context(&Arc::from("i"), &node).unwrap(), "i");
    }

    #[test]
    fn what_is_no_name_of_one_resource_is_refused_with_the_reason() {
        let reason = |name| Xdstp::parse(name).unwrap_err();
        assert!(reason("xdstp://a").contains("no resource type"));
        assert!(reason("xdstp://a/t/x/*").contains("collections"));
        assert!(reason("xdstp://a/t.ListenerCollection/x").contains("collections"));
        assert!(reason("xdstp://a/t/x#entry=b").contains("directives"));
        assert!(reason("xdstp://a/t/x?k").contains("no `=`"));
        assert!(reason("xdstp://a/t/x?k=1&k=2").contains("twice"));
        assert!(reason("xdstp://a/t/%zz").contains("two digits"));
        assert!(reason("xdstp://a/t/%ff").contains("UTF-8"));
    }

    fn canonical_of(name: &str) -> String {
        canonical(name).unwrap().into_owned()
    }
}
