//! Is what a proxy did with raw bytes what Envoy did, stricter, or looser?

use crate::wire::{Body, Head, Peer};
use socket2::Socket;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What one connection led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Statuses the client saw; `raw` when what came is not HTTP/1.
    pub statuses: Vec<String>,
    /// `open`, `closed` or `reset`.
    pub end: String,
    /// How many requests or connections the server saw.
    pub count: usize,
    /// The requests the server saw whole.
    pub requests: Vec<Request>,
    /// Whether the requests are known to the last byte (the recording cuts long ones).
    pub exact: bool,
}

/// A request as the server saw it, without what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Request line.
    pub line: String,
    /// Sorted.
    pub headers: Vec<String>,
    /// Decoded.
    pub body: Vec<u8>,
    /// Whether it was chunked.
    pub chunked: bool,
}

/// The judgement on one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As Envoy.
    Same,
    /// Refuses, or closes, where Envoy does not.
    Stricter,
    /// Refuses as Envoy does, with another status.
    OtherRefusal(String),
    /// Lets something through that Envoy does not. Never good.
    Looser(String),
}

impl Request {
    /// From a message.
    #[must_use]
    pub fn new(head: &Head, body: Body) -> Self {
        let (body, chunked) = match body {
            Body::None => (vec![], false),
            Body::Length(data) | Body::UntilClose(data) => (data, false),
            Body::Chunked(data, trailers) => {
                let trailers = trailers.join("\n").into_bytes();
                ([data, trailers].concat(), true)
            }
        };
        let mut headers: Vec<String> = head
            .headers
            .iter()
            .filter(|(name, _)| name != "x-request-id" && name != "x-envoy-expected-rq-timeout-ms")
            .map(|(name, value)| match name.as_str() {
                "x-forwarded-for" => format!("{name}: {}", without_own_address(value)),
                _ => format!("{name}: {value}"),
            })
            .collect();
        headers.sort();
        Self { line: head.start.clone(), headers, body, chunked }
    }

    /// From the bytes of a whole request.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (near, far) = UnixStream::pair().ok()?;
        let mut writer = Peer::new(Socket::from(std::os::fd::OwnedFd::from(near)));
        let mut reader = Peer::new(Socket::from(std::os::fd::OwnedFd::from(far)));
        writer.send(bytes);
        writer.fin();
        let deadline = Instant::now() + Duration::from_secs(1);
        let head = reader.head(deadline).ok()?;
        let body = reader.request_body(&head, deadline).ok()?;
        Some(Self::new(&head, body))
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.chunked && self.headers.iter().any(|line| line.starts_with("content-length:"))
    }
}

/// The last address of x-forwarded-for may be the machine's own, which the recording leaves out.
fn without_own_address(value: &str) -> String {
    let (before, last) = match value.rfind(',') {
        Some(at) => value.split_at(at + 1),
        None => ("", value),
    };
    match last.trim().parse::<std::net::IpAddr>() {
        Ok(_) => format!("{before}<LOCALIP>"),
        Err(_) => value.to_owned(),
    }
}

/// Judges `ours` by `theirs`.
#[must_use]
pub fn judge(theirs: &Outcome, ours: &Outcome, stable: bool) -> Verdict {
    let looser = |why: String| Verdict::Looser(why);
    if ours.requests.iter().any(Request::is_ambiguous) {
        return looser("forwards content-length and transfer-encoding".into());
    }
    // The head of a request whose body turns out to be malformed may be on its way already (with
    // Envoy as well, a matter of microseconds); the server never gets that request whole.
    let refused_at_last = ours.statuses.last().is_some_and(|status| refused(status));
    let seen = if refused_at_last { ours.requests.len() } else { ours.count };
    if stable && seen > theirs.count {
        return looser(format!("the server saw {seen} requests, not {}", theirs.count));
    }
    if theirs.exact
        && let Some(other) = ours.requests.iter().find(|r| !theirs.requests.contains(r))
    {
        return looser(format!("forwards another request: {other:?}"));
    }
    match statuses(theirs, ours) {
        Verdict::Same => ends(theirs, ours),
        verdict => verdict,
    }
}

fn refused(status: &str) -> bool {
    status.parse::<u16>().is_ok_and(|status| status >= 400)
}

fn statuses(theirs: &Outcome, ours: &Outcome) -> Verdict {
    let longest = theirs.statuses.len().max(ours.statuses.len());
    for at in 0..longest {
        match (theirs.statuses.get(at), ours.statuses.get(at)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if refused(a) && refused(b) => {
                return Verdict::OtherRefusal(format!("{b}, not {a}"));
            }
            (_, Some(b)) if refused(b) => return Verdict::Stricter,
            (Some(a), None) if refused(a) && ours.end == "open" => {
                return Verdict::Looser(format!("waits, Envoy answers {a}"));
            }
            (Some(_), None) if ours.end == "open" => {
                return Verdict::Looser("gives no answer, and does not close".into());
            }
            (Some(_), None) => return Verdict::Stricter,
            (theirs, Some(b)) => {
                let theirs = theirs.map_or("nothing", String::as_str);
                return Verdict::Looser(format!("answers {b}, Envoy {theirs}"));
            }
            (None, None) => {}
        }
    }
    Verdict::Same
}

fn ends(theirs: &Outcome, ours: &Outcome) -> Verdict {
    match (theirs.end.as_str(), ours.end.as_str()) {
        ("open", "open") => Verdict::Same,
        ("open", _) => Verdict::Stricter,
        (_, "open") => Verdict::Looser("leaves the connection open".into()),
        _ => Verdict::Same,
    }
}
