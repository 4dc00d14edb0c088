//! Path, query and form parameters of a request to an admin page.

/// Parameters in the order given; values are percent-decoded, names without `=` are empty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// Parameters a request may carry; the rest is dropped.
const PARAMS_MAX: usize = 256;

impl Params {
    /// Splits a target into its path and its parameters.
    pub fn of_target(target: &[u8]) -> (String, Self) {
        let at = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(at);
        let mut params = Self::default();
        params.add_encoded(query.get(1..).unwrap_or_default());
        (String::from_utf8_lossy(path).into_owned(), params)
    }

    /// Adds `name=value&name=value`, the body of a form or a query.
    pub fn add_encoded(&mut self, encoded: &[u8]) {
        // A fragment is no part of a query; some clients send it all the same.
        let encoded = encoded.split(|byte| *byte == b'#').next().unwrap_or_default();
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if self.0.len() == PARAMS_MAX {
                return;
            }
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(at);
            self.0.push((decode(name), decode(value.get(1..).unwrap_or_default())));
        }
    }

    /// The first value of a name, even an empty one.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name that is not empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// Was the name given?
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Percent-decoding; a `%` without two hex digits stays, and `+` is itself, as in Envoy.
fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high * 16 + low);
            rest = after;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_decodes() {
        let (path, params) = Params::of_target(b"/stats?usedonly&filter=a%2Eb%&x=1=2&&x=3#frag=1");
        assert_eq!(path, "/stats");
        assert_eq!(params.len(), 4);
        assert_eq!(params.first("usedonly"), Some(""));
        assert_eq!(params.non_empty("usedonly"), None);
        assert_eq!(params.first("filter"), Some("a.b%"));
        assert_eq!(params.first("x"), Some("1=2"));
        assert!(!params.has("frag"));
    }

    #[test]
    fn forms_add_to_the_query() {
        let (_, mut params) = Params::of_target(b"/runtime_modify?a=1");
        params.add_encoded(b"b=c+d&e=%C3%A9");
        assert_eq!(params.first("b"), Some("c+d"));
        assert_eq!(params.first("e"), Some("é"));
    }
}
