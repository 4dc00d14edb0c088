//! The corpus of PROXY protocol openings with Envoy's verdicts.

use super::lane::{self, Server};
use super::verdict::Outcome;
use crate::proxy::{self, Kind, Proxy};
use crate::{bins, ports};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// Where we refuse what Envoy takes, and why. Every entry must be needed.
const STRICTER: &[(&str, &str)] = &[
    ("012-v1-port-lead0.bin", "a port with leading zeros"),
    ("024-v1-trail-space.bin", "a space before the line end"),
    ("030-v1-v6-zone.bin", "an IPv6 zone id"),
    ("032-v1-nul.bin", "a NUL after the address"),
    ("076-v2-tlv-crc-bad.bin", "a wrong checksum"),
];

/// One row of the recording.
#[derive(Debug)]
struct Row {
    file: String,
    /// `-` for none.
    status: String,
    end: String,
    /// The client address the server was told; empty for none.
    client: String,
}

/// Replays the whole corpus through `kind`. Answers what is not as it should be, and a report.
///
/// # Errors
/// The corpus is damaged, or the proxy does not start or dies.
pub fn run(kind: Kind, corpus: &Path) -> Result<(Vec<String>, String)> {
    let rows = rows(corpus)?;
    let (server, listener, admin) = (Server::start()?, ports::free(), ports::free());
    let recorded = serde_json::from_str(&std::fs::read_to_string(corpus.join("envoy.json"))?)?;
    let config = config(recorded, &server, listener, admin)?.to_string();
    let mut proxy = Proxy::start(kind, proxy::new_dir()?, &config, admin, &[])?;
    let (mut wrong, mut same) = (Vec::new(), 0);
    for row in &rows {
        let bytes = std::fs::read(corpus.join(&row.file)).with_context(|| row.file.clone())?;
        let ours = lane::replay(listener, &server, &bytes)
            .with_context(|| format!("while replaying {}", row.file))?;
        match judge(kind, row, &ours) {
            Ok(()) => same += 1,
            Err(why) => wrong.push(format!("{}: {why}", row.file)),
        }
    }
    ensure!(proxy.alive(), "the proxy died:\n{}", proxy.log_tail());
    let text = format!("PROXY protocol openings, {}: {same} of {} right", kind.name(), rows.len());
    std::fs::write(bins::reports_dir()?.join(format!("pp-corpus-{}.md", kind.name())), &text)?;
    Ok((wrong, text))
}

fn judge(kind: Kind, row: &Row, ours: &Outcome) -> Result<(), String> {
    let got = format!("{:?}, {}, {} requests", ours.statuses, ours.end, ours.count);
    let refused = ours.statuses.is_empty() && ours.count == 0;
    let stricter = STRICTER.iter().find(|(file, _)| *file == row.file);
    if let (Some((_, why)), Kind::Ringway(_)) = (stricter, kind) {
        return if refused { Ok(()) } else { Err(format!("{why} was taken: {got}")) };
    }
    match (row.status.as_str(), row.end.as_str()) {
        // Envoy waits for the rest of a header; so may we.
        ("-", "open") if refused => Ok(()),
        ("-", _) if refused && ours.end != "open" => Ok(()),
        ("200", _) if ours.statuses == ["200"] && ours.count == 1 => client(row, ours),
        ("400", _) if ours.count == 0 && (refused || ours.statuses == ["400"]) => Ok(()),
        (status, end) => Err(format!("Envoy: {status}, {end}; here: {got}")),
    }
}

/// The server was told of the right client.
fn client(row: &Row, ours: &Outcome) -> Result<(), String> {
    let told = ours.requests.iter().flat_map(|request| &request.headers);
    let told: Vec<&str> =
        told.filter_map(|line| line.strip_prefix("x-envoy-external-address: ")).collect();
    let right = match row.client.as_str() {
        // The socket's own, or one of this host that the header named.
        "<LOCALIP>" => told.iter().all(|address| *address == "127.0.0.1"),
        client => told == [client],
    };
    if right { Ok(()) } else { Err(format!("the client is {told:?}, not {}", row.client)) }
}

/// The recorded configuration with our ports.
fn config(mut recorded: Value, server: &Server, listener: u16, admin: u16) -> Result<Value> {
    let endpoint = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0\
                    /endpoint/address/socket_address/port_value";
    let ports = [
        ("/admin/address/socket_address/port_value", admin),
        ("/static_resources/listeners/0/address/socket_address/port_value", listener),
        (endpoint, server.port),
    ];
    for (path, port) in ports {
        *recorded.pointer_mut(path).with_context(|| format!("there is no {path}"))? = json!(port);
    }
    Ok(recorded)
}

fn rows(corpus: &Path) -> Result<Vec<Row>> {
    let table = std::fs::read_to_string(corpus.join("envoy-results.tsv"))?;
    let row = |line: &str| {
        let mut columns = line.split('\t').map(str::to_owned);
        let mut next = || columns.next().with_context(|| format!("too few columns: {line}"));
        Ok(Row { file: next()?, status: next()?, end: next()?, client: next()? })
    };
    table.lines().skip(1).map(row).collect()
}
