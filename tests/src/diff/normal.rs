//! What may differ between two runs without a difference in behaviour: times, identifiers, ports,
//! folders. Everything else is compared as it is.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// The names of one side's ports and folders.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Port → name (`listener_0`, `upstream_1`, `client`).
    pub ports: BTreeMap<u16, String>,
    /// The folder of the proxy.
    pub dir: String,
}

/// `9` a digit, `f` a hex digit, `A` and `a` letters, anything else itself.
const PATTERNS: [(&str, &str); 4] = [
    ("ffffffff-ffff-ffff-ffff-ffffffffffff", "<uuid>"),
    ("9999-99-99T99:99:99.999Z", "<time>"),
    ("9999-99-99T99:99:99Z", "<time>"),
    ("Aaa, 99 Aaa 9999 99:99:99 GMT", "<date>"),
];

impl Names {
    /// A line of a transcript without what may differ.
    #[must_use]
    pub fn normal(&self, line: &str) -> String {
        let mut text = line.replace(&self.dir, "{{dir}}");
        for (pattern, name) in PATTERNS {
            text = mask(&text, pattern, name);
        }
        text = self.name_ports(&text);
        text = number_after(&text, "~", "~");
        text = number_after(&text, "_ms\":", "");
        text = coarse_timeout(&text);
        text = default_log_times(&text);
        text = tls_error(&text);
        number_after(&text, "x-envoy-upstream-service-time: ", "")
    }

    /// Replaces whole numbers that are a known port, and ports the kernel chose for an end of a
    /// connection on this machine.
    fn name_ports(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            out.push_str(&rest[..at]);
            let digits = &rest[at..];
            let len = digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = digits.split_at(len);
            let inside_word = out.ends_with(|c: char| c.is_ascii_alphanumeric())
                || after.starts_with(|c: char| c.is_ascii_alphanumeric());
            let port = number.parse::<u16>().ok().filter(|_| !inside_word);
            match port.map(|port| (port, self.ports.get(&port))) {
                Some((_, Some(name))) => out.push_str(&format!("{{{{{name}}}}}")),
                Some((32_768.., None)) if is_host(&out) => out.push_str("{{port}}"),
                _ => out.push_str(number),
            }
            rest = after;
        }
        out + rest
    }
}

/// Whether what precedes a port is an address of this machine.
fn is_host(before: &str) -> bool {
    ["127.0.0.1:", "[::1]:", "localhost:", "0.0.0.0:"].iter().any(|host| before.ends_with(host))
}

/// The time left to a retry depends on how fast the first attempt failed: rounded up to 500 ms.
fn coarse_timeout(text: &str) -> String {
    const NAME: &str = "x-envoy-expected-rq-timeout-ms: ";
    match text.strip_prefix(NAME).and_then(|ms| ms.parse::<u64>().ok()) {
        Some(ms) => format!("{NAME}{}", ms.div_ceil(500) * 500),
        None => text.to_owned(),
    }
}

/// Why a handshake failed, in the words of the TLS library.
fn tls_error(text: &str) -> String {
    const FROM: &str = "TLS_error:";
    const TO: &str = "TLS_error_end";
    match (text.find(FROM), text.rfind(TO)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}<error>{}", &text[..from + FROM.len()], &text[to..])
        }
        _ => text.to_owned(),
    }
}

/// A line of Envoy's default access log format: duration and upstream time are the fifth and sixth
/// word after the request.
fn default_log_times(text: &str) -> String {
    let Some((request, rest)) =
        text.strip_prefix("[<time>] \"").and_then(|rest| rest.split_once("\" "))
    else {
        return text.to_owned();
    };
    let time = |(at, word): (usize, &str)| match word.parse::<u64>() {
        Ok(_) if at == 4 || at == 5 => "<n>".to_owned(),
        _ => word.to_owned(),
    };
    let words: Vec<String> = rest.split(' ').enumerate().map(time).collect();
    format!("[<time>] \"{request}\" {}", words.join(" "))
}

fn mask(text: &str, pattern: &str, name: &str) -> String {
    let (bytes, pattern) = (text.as_bytes(), pattern.as_bytes());
    let fits = |at: usize| {
        bytes.len() >= at + pattern.len()
            && pattern.iter().zip(&bytes[at..]).all(|(p, b)| match p {
                b'9' => b.is_ascii_digit(),
                b'f' => b.is_ascii_hexdigit(),
                b'A' => b.is_ascii_uppercase(),
                b'a' => b.is_ascii_lowercase(),
                _ => p == b,
            })
    };
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut from = 0;
    while at < bytes.len() {
        if fits(at) {
            out.push_str(&text[from..at]);
            out.push_str(name);
            at += pattern.len();
            from = at;
        } else {
            at += 1;
        }
    }
    out + &text[from..]
}

/// Replaces a number that stands between `before` and `after`.
fn number_after(text: &str, before: &str, after: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let (head, tail) = rest.split_at(at + before.len());
        out.push_str(head);
        let number = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        if number.len() < tail.len() && number.starts_with(after) {
            out.push_str("<n>");
            rest = number;
        } else {
            rest = tail;
        }
    }
    out + rest
}
