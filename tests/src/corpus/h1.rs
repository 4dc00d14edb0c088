//! The corpus of raw HTTP/1 requests with Envoy's verdicts, in its two profiles.

use super::lane::{self, MANAGER, Parts, Server, at};
use super::verdict::{Outcome, Request, Verdict, judge};
use crate::proxy::{self, Kind, Proxy};
use crate::{bins, ports};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(test)]
mod tests;

/// Lanes per profile.
const LANES: usize = 12;
/// Name of a listener in the recorded configuration, and of its cluster.
const PROFILES: [(&str, &str, &str); 2] = [("default", "plain", "up"), ("hard", "hard", "up2")];

/// One row of the recording.
#[derive(Debug)]
struct Row {
    file: String,
    stable: bool,
    /// In the order of `PROFILES`.
    outcomes: [Outcome; 2],
}

/// A judged case.
#[derive(Debug)]
pub struct Judged {
    /// File of the corpus.
    pub file: String,
    /// `default` or `hard`.
    pub profile: &'static str,
    /// What was decided.
    pub verdict: Verdict,
    theirs: Outcome,
    ours: Outcome,
}

/// Replays the whole corpus through `kind` and judges every case.
///
/// # Errors
/// The corpus is damaged, or the proxy does not start or dies.
pub fn run(kind: Kind, corpus: &Path) -> Result<Vec<Judged>> {
    let rows = rows(corpus)?;
    let lanes: Vec<(Server, u16, usize)> = (0..LANES * PROFILES.len())
        .map(|n| Ok((Server::start()?, ports::free(), n % PROFILES.len())))
        .collect::<Result<_>>()?;
    let admin = ports::free();
    let recorded = serde_json::from_str(&std::fs::read_to_string(corpus.join("envoy.json"))?)?;
    let config = config(&recorded, &lanes, admin)?.to_string();
    let mut proxy = Proxy::start(kind, proxy::new_dir()?, &config, admin, &[])?;
    let next: [AtomicUsize; 2] = Default::default();
    let mut judged = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = lanes
            .iter()
            .map(|lane| scope.spawn(|| drive(lane, &rows, &next[lane.2], corpus)))
            .collect();
        for worker in workers {
            judged.extend(worker.join().unwrap_or_else(|_| panic!("a lane panicked"))?);
        }
        Ok(())
    })?;
    ensure!(proxy.alive(), "the proxy died:\n{}", proxy.log_tail());
    judged.sort_by(|a, b| (&a.file, a.profile).cmp(&(&b.file, b.profile)));
    Ok(judged)
}

fn drive(
    (server, listener, profile): &(Server, u16, usize),
    rows: &[Row],
    next: &AtomicUsize,
    corpus: &Path,
) -> Result<Vec<Judged>> {
    let mut judged = Vec::new();
    while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
        let bytes = std::fs::read(corpus.join(&row.file)).with_context(|| row.file.clone())?;
        let theirs = row.outcomes[*profile].clone();
        let ours = lane::replay(*listener, server, &bytes)
            .with_context(|| format!("while replaying {}", row.file))?;
        let verdict = judge(&theirs, &ours, row.stable);
        let (profile, _, _) = PROFILES[*profile];
        judged.push(Judged { file: row.file.clone(), profile, verdict, theirs, ours });
    }
    Ok(judged)
}

/// The recorded configuration with one listener and one cluster per lane.
fn config(recorded: &Value, lanes: &[(Server, u16, usize)], admin: u16) -> Result<Value> {
    let parts = lanes.iter().map(|(server, port, profile)| {
        let (_, listener, cluster) = PROFILES[*profile];
        let mut listener = named(&recorded["static_resources"]["listeners"], listener)?;
        let cluster = named(&recorded["static_resources"]["clusters"], cluster)?;
        // The corpus is HTTP/1: what the manager would do with HTTP/2 is not asked here.
        if let Some(manager) = at(&mut listener, MANAGER)?.as_object_mut() {
            manager.remove("http2_protocol_options");
        }
        Ok(Parts { listener, cluster, port: *port, server: server.port })
    });
    lane::config(recorded, parts.collect::<Result<_>>()?, admin)
}

fn named(list: &Value, name: &str) -> Result<Value> {
    let list = list.as_array().context("no list")?;
    list.iter().find(|item| item["name"] == name).cloned().with_context(|| format!("no {name}"))
}

fn rows(corpus: &Path) -> Result<Vec<Row>> {
    let table = std::fs::read_to_string(corpus.join("envoy-results.tsv"))?;
    table.lines().skip(1).map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, _, stable, d_status, d_end, d_count, d_seen, h_status, h_end, h_count, h_seen] =
        columns.as_slice()
    else {
        anyhow::bail!("{} columns in a row of the recording: {line}", columns.len());
    };
    let or_default =
        |hard: &&str, default: &&str| if *hard == "=" { *default } else { *hard }.to_owned();
    let default = outcome(d_status, d_end, d_count, d_seen)?;
    let hard = outcome(
        &or_default(h_status, d_status),
        &or_default(h_end, d_end),
        &or_default(h_count, d_count),
        &or_default(h_seen, d_seen),
    )?;
    Ok(Row { file: (*file).to_owned(), stable: *stable == "1", outcomes: [default, hard] })
}

fn outcome(statuses: &str, end: &str, count: &str, seen: &str) -> Result<Outcome> {
    let statuses = match statuses {
        "-" => vec![],
        raw if raw.starts_with("raw:") => vec!["raw".to_owned()],
        list => list.split(',').map(str::to_owned).collect(),
    };
    // `…` stands for what was cut; what came after a whole request is marked, not part of it.
    let exact = !seen.contains('…') && !seen.contains("<<EXTRA>>");
    let requests = seen
        .split(" || ")
        .filter_map(|part| part.strip_prefix("d:"))
        .filter_map(|text| Request::parse(&unescape(text)))
        .collect();
    Ok(Outcome { statuses, end: end.to_owned(), count: count.parse()?, requests, exact })
}

/// Resolves `\r`, `\n`, `\t`, `\\` and `\xNN`.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let (byte, used) = match (first, tail) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', a, b, ..]) => {
                let digits = [*a, *b];
                let hex = std::str::from_utf8(&digits).ok();
                match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    Some(byte) => (byte, 3),
                    None => (b'\\', 0),
                }
            }
            (other, _) => (*other, 0),
        };
        out.push(byte);
        rest = &rest[used..];
    }
    out
}

/// Counts, and every case that is not as Envoy, as Markdown. Written to
/// `target/reports/h1-corpus-NAME.md`.
///
/// # Errors
/// The file cannot be written.
pub fn report(kind: Kind, judged: &[Judged]) -> Result<String> {
    let count = |wanted: fn(&Verdict) -> bool| judged.iter().filter(|j| wanted(&j.verdict)).count();
    let mut text = format!(
        "# Raw HTTP/1 requests, {}: {} judged\n\nas Envoy {}, stricter {}, refused with another \
         status {}, looser {}\n\n",
        kind.name(),
        judged.len(),
        count(|v| *v == Verdict::Same),
        count(|v| *v == Verdict::Stricter),
        count(|v| matches!(v, Verdict::OtherRefusal(_))),
        count(|v| matches!(v, Verdict::Looser(_))),
    );
    for case in judged.iter().filter(|j| j.verdict != Verdict::Same) {
        let verdict = match &case.verdict {
            Verdict::Looser(why) => format!("**looser**: {why}"),
            Verdict::OtherRefusal(why) => format!("refused: {why}"),
            _ => "stricter".to_owned(),
        };
        text.push_str(&format!(
            "- {} ({}): {verdict} [Envoy {:?} {} {}, here {:?} {} {}]\n",
            case.file,
            case.profile,
            case.theirs.statuses,
            case.theirs.end,
            case.theirs.count,
            case.ours.statuses,
            case.ours.end,
            case.ours.count,
        ));
    }
    let path = bins::reports_dir()?.join(format!("h1-corpus-{}.md", kind.name()));
    std::fs::write(path, &text)?;
    Ok(text)
}
