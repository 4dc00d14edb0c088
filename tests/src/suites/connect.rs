//! The conformance suite of Connect: gRPC, gRPC-Web and Connect over HTTP/1 and HTTP/2, with the
//! protocol of the client kept on the way to the server.
//!
//! The suite starts the server under test itself and asks it for its address: it is given this test
//! binary (`wrapper`), which starts the reference server and answers with the address of the proxy.

use super::{Outcome, Setup, run};
use crate::proxy::{self, Kind};
use crate::{bins, ports};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FEATURES: &str = "features:
  versions: [ HTTP_VERSION_1, HTTP_VERSION_2 ]
  protocols: [ PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB ]
  codecs: [ CODEC_PROTO, CODEC_JSON ]
  compressions: [ COMPRESSION_IDENTITY, COMPRESSION_GZIP ]
  supports_tls: false
  supports_h2c: true
  supports_message_receive_limit: true
";
/// Set when this process is the wrapper: reference server, its port, port of the proxy.
const WRAP: &str = "RINGWAY_CONNECT_WRAPPER";

/// Runs all cases.
///
/// # Errors
/// A tool is missing or says nothing.
pub fn conformance(kind: Kind) -> Result<Outcome> {
    let runner = bins::suite("connect/connectconformance").map_err(anyhow::Error::msg)?;
    let server = bins::suite("connect/referenceserver").map_err(anyhow::Error::msg)?;
    let port = ports::free();
    let setup = Setup::start(kind, "connect", port)?;
    let dir = proxy::new_dir()?;
    let features = dir.join("features.yaml");
    std::fs::write(&features, FEATURES)?;
    let mut command = Command::new(runner);
    command
        .args(["--mode", "server", "--max-servers", "1", "--conf"])
        .arg(&features)
        .arg("--")
        .arg(std::env::current_exe()?)
        .env(WRAP, format!("{}\n{port}\n{}", server.display(), setup.port("plain")?));
    let (said, _) = run(&mut command, Duration::from_secs(200))?;
    std::fs::remove_dir_all(&dir).ok();
    outcome(&said).with_context(|| said.clone())
}

/// Reads what the suite prints: `FAILED: NAME:` per failure, and the total.
fn outcome(said: &str) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let failed = said.lines().filter_map(|line| line.strip_prefix("FAILED: "));
    outcome.failed = failed.map(|line| line.trim_end_matches(':').to_owned()).collect();
    let total = said.lines().find_map(|line| line.trim().strip_prefix("Total cases: "));
    outcome.total = total.context("no total")?.trim().parse()?;
    ensure!(outcome.total > 100, "only {} cases", outcome.total);
    Ok(outcome)
}

/// Acts as the server under test when this process is one; `None` when it is not.
#[must_use]
pub fn wrapper() -> Option<Result<()>> {
    let wrap = std::env::var(WRAP).ok()?;
    Some(wrap_server(&wrap))
}

fn wrap_server(wrap: &str) -> Result<()> {
    let mut parts = wrap.lines();
    let mut next = || parts.next().context("three lines");
    let (server, port, proxy) = (next()?, next()?, next()?.parse::<u16>()?);
    let mut request = Vec::new();
    let mut stdin = std::io::stdin().lock();
    let mut length = [0; 4];
    stdin.read_exact(&mut length)?;
    request.extend_from_slice(&length);
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stdin.read_exact(&mut body)?;
    request.extend(body);
    // The server before this one may not have let go of the port yet.
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpListener::bind(("127.0.0.1", port.parse::<u16>()?)).is_err() {
        ensure!(Instant::now() < deadline, "port {port} is taken");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The suite ends its server by a signal; the real one has to end with it.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", server, "-port", port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(&request)?;
    let answers = child.stdout.as_mut().context("no output")?;
    answers.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    answers.read_exact(&mut answer)?;
    let mut stdout = std::io::stdout().lock();
    let own = address(proxy);
    stdout.write_all(&(own.len() as u32).to_be_bytes())?;
    stdout.write_all(&own)?;
    stdout.flush()?;
    child.wait()?;
    Ok(())
}

/// The answer as protobuf: host is field 1, port field 2.
fn address(port: u16) -> Vec<u8> {
    let host = b"127.0.0.1";
    let mut out = vec![0x0a, host.len() as u8];
    out.extend_from_slice(host);
    out.push(0x10);
    let mut rest = port;
    while rest >= 128 {
        out.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_suite_says() {
        let outcome =
            outcome("FAILED: a/b:\n\twhy\nTotal cases: 742\n741 passed, 1 failed\n").unwrap();
        assert_eq!((outcome.total, outcome.failed), (742, vec!["a/b".to_owned()]));
    }

    #[test]
    fn the_address_is_protobuf() {
        assert_eq!(address(300)[11..], [0x10, 0xac, 0x02]);
    }
}
