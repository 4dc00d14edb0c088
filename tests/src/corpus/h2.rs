//! The corpus of raw HTTP/2 connections with Envoy's verdicts, in its two profiles. Behind the
//! proxy is an HTTP/1 server, which must never see what a client forged.

use super::h1::unescape;
use super::lane::{self, Parts, Server};
use super::verdict::{Request, Verdict};
use crate::h2::{Conn, code_name};
use crate::proxy::{self, Kind, Proxy};
use crate::wire::{End, Peer};
use crate::{bins, ports};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Lanes per profile.
const LANES: usize = 8;
/// How long a client waits for more.
const SILENCE: Duration = Duration::from_millis(450);
/// Where the recording cuts what a server saw, in characters.
const LONGEST: usize = 600;
const PROFILES: [&str; 2] = ["default", "streamerr"];

/// What came back on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Status(u16),
    /// The stream was reset, or the connection ended.
    Refused(String),
    Nothing,
}

/// One row of the recording.
#[derive(Debug)]
struct Row {
    file: String,
    answer: Answer,
    requests: Vec<Request>,
    /// Whether the requests are known to the last byte (the recording cuts long ones).
    exact: bool,
}

/// A judged case.
#[derive(Debug)]
pub struct Judged {
    file: String,
    profile: &'static str,
    /// What was decided.
    pub verdict: Verdict,
    theirs: Answer,
    ours: Answer,
}

/// Replays the whole corpus through `kind` and judges every case.
///
/// # Errors
/// The corpus is damaged, or the proxy does not start or dies.
pub fn run(kind: Kind, corpus: &Path) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    for profile in PROFILES {
        judged.extend(run_profile(kind, corpus, profile)?);
    }
    Ok(judged)
}

fn run_profile(kind: Kind, corpus: &Path, profile: &'static str) -> Result<Vec<Judged>> {
    let rows = rows(corpus, profile)?;
    let lanes: Vec<(Server, u16)> =
        (0..LANES).map(|_| Ok((Server::start()?, ports::free()))).collect::<Result<_>>()?;
    let admin = ports::free();
    let text = std::fs::read_to_string(corpus.join(format!("envoy-{profile}.json")))?;
    let config = config(&serde_json::from_str(&text)?, &lanes, admin)?.to_string();
    let mut proxy = Proxy::start(kind, proxy::new_dir()?, &config, admin, &[])?;
    let next = AtomicUsize::new(0);
    let mut judged = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = lanes
            .iter()
            .map(|lane| scope.spawn(|| drive(lane, &rows, &next, corpus, profile)))
            .collect();
        for worker in workers {
            judged.extend(worker.join().unwrap_or_else(|_| panic!("a lane panicked"))?);
        }
        Ok(())
    })?;
    ensure!(proxy.alive(), "the proxy died:\n{}", proxy.log_tail());
    judged.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(judged)
}

fn drive(
    (server, listener): &(Server, u16),
    rows: &[Row],
    next: &AtomicUsize,
    corpus: &Path,
    profile: &'static str,
) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
        let bytes = std::fs::read(corpus.join(&row.file)).with_context(|| row.file.clone())?;
        server.take();
        let ours = replay(*listener, &bytes)?;
        let seen = server.take();
        let verdict = judge(row, &ours, &seen);
        let (file, theirs) = (row.file.clone(), row.answer.clone());
        judged.push(Judged { file, profile, verdict, theirs, ours });
    }
    Ok(judged)
}

fn replay(listener: u16, bytes: &[u8]) -> Result<Answer> {
    let mut peer = Peer::connect(SocketAddr::from(([127, 0, 0, 1], listener)))?;
    peer.send(bytes);
    let mut conn = Conn::raw(peer);
    let end = loop {
        if conn.stream(1).is_some_and(|stream| stream.is_over()) {
            break End::Timeout;
        }
        if let Err(end) = conn.pump(Instant::now() + SILENCE) {
            break end;
        }
    };
    let stream = conn.stream(1);
    let status = stream.and_then(|stream| stream.status()).filter(|status| *status >= 200);
    Ok(match (status, stream.and_then(|stream| stream.reset), end) {
        (Some(status), _, _) => Answer::Status(status),
        (None, Some(code), _) => Answer::Refused(format!("reset {}", code_name(code))),
        (None, None, End::Timeout) => Answer::Nothing,
        (None, None, end) => Answer::Refused(format!("connection {}", end.word())),
    })
}

fn judge(row: &Row, ours: &Answer, seen: &[Option<Request>]) -> Verdict {
    let looser = |why: String| Verdict::Looser(why);
    let whole: Vec<&Request> = seen.iter().flatten().collect();
    if whole.iter().any(|request| request.is_ambiguous()) {
        return looser("forwards content-length and transfer-encoding".into());
    }
    if row.exact
        && let Some(other) = whole.iter().find(|request| !row.requests.contains(request))
    {
        return looser(format!("forwards another request: {other:?}"));
    }
    let refuses = |answer: &Answer| match answer {
        Answer::Status(status) => *status >= 400,
        Answer::Refused(_) => true,
        Answer::Nothing => false,
    };
    match (&row.answer, ours) {
        (theirs, ours) if theirs == ours => Verdict::Same,
        (theirs, ours) if refuses(theirs) && refuses(ours) => Verdict::Same,
        (_, ours) if refuses(ours) => Verdict::Stricter,
        (Answer::Nothing, Answer::Nothing) => Verdict::Same,
        (theirs, ours) => looser(format!("answers {ours:?}, Envoy {theirs:?}")),
    }
}

/// The recorded configuration with one listener and one cluster per lane.
fn config(recorded: &Value, lanes: &[(Server, u16)], admin: u16) -> Result<Value> {
    let resources = &recorded["static_resources"];
    let parts = lanes.iter().map(|(server, port)| Parts {
        listener: resources["listeners"][0].clone(),
        cluster: resources["clusters"][0].clone(),
        port: *port,
        server: server.port,
    });
    lane::config(recorded, parts.collect(), admin)
}

fn rows(corpus: &Path, profile: &str) -> Result<Vec<Row>> {
    let table = std::fs::read_to_string(corpus.join(format!("envoy-results-{profile}.tsv")))?;
    table.lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, _, result, conn, _, seen] = columns.as_slice() else {
        anyhow::bail!("{} columns in a row of the recording: {line}", columns.len());
    };
    // An interim answer stands before the final one.
    let last = result.rsplit(',').next().unwrap_or_default();
    let answer = match (last.parse(), last, *conn) {
        (Ok(status), _, _) => Answer::Status(status),
        (_, "-", "open") => Answer::Nothing,
        (_, "-", conn) => Answer::Refused(format!("connection {conn}")),
        (_, reset, _) => Answer::Refused(reset.to_owned()),
    };
    let request = |part: &str| {
        let mut bytes = unescape(part.strip_prefix("d:")?);
        if !bytes.windows(4).any(|w| w == b"\r\n\r\n") {
            bytes.extend_from_slice(b"\r\n\r\n");
        }
        Request::parse(&bytes)
    };
    let requests = seen.split(" || ").filter_map(request).collect();
    let exact = seen.len() < LONGEST;
    Ok(Row { file: (*file).to_owned(), answer, requests, exact })
}

/// Counts, and every case that is not as Envoy, as Markdown. Written to
/// `target/reports/h2-corpus-NAME.md`.
///
/// # Errors
/// The file cannot be written.
pub fn report(kind: Kind, judged: &[Judged]) -> Result<String> {
    let count = |wanted: fn(&Verdict) -> bool| judged.iter().filter(|j| wanted(&j.verdict)).count();
    let mut text = format!(
        "# Raw HTTP/2 connections, {}: {} judged\n\nas Envoy {}, stricter {}, looser {}\n\n",
        kind.name(),
        judged.len(),
        count(|v| *v == Verdict::Same),
        count(|v| *v == Verdict::Stricter),
        count(|v| matches!(v, Verdict::Looser(_))),
    );
    for case in judged.iter().filter(|j| j.verdict != Verdict::Same) {
        let verdict = match &case.verdict {
            Verdict::Looser(why) => format!("**looser**: {why}"),
            _ => "stricter".to_owned(),
        };
        text.push_str(&format!(
            "- {} ({}): {verdict} [Envoy {:?}, here {:?}]\n",
            case.file, case.profile, case.theirs, case.ours,
        ));
    }
    let path = bins::reports_dir()?.join(format!("h2-corpus-{}.md", kind.name()));
    std::fs::write(path, &text)?;
    Ok(text)
}
