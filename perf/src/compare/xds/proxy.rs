//! Proxies of this suite: started with a bootstrap, asked by their admin pages.

use super::super::peer::{Installed, Running, free_port};
use crate::proc;
use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for a proxy.
const PATIENCE: Duration = Duration::from_secs(40);

const ADMIN: &str = "
node: { id: perf, cluster: perf }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: @ADMIN@ } } }
";

const ADS: &str = r#"
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{ envoy_grpc: { cluster_name: ads } }]
  cds_config: { ads: {}, resource_api_version: V3 }
  lds_config: { ads: {}, resource_api_version: V3 }
static_resources:
  clusters:
  - name: ads
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment:
      cluster_name: ads
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: @HOST@, port_value: @PORT@ } } }
"#;

/// A proxy at work and where to ask it.
pub(super) struct Proxy {
    pub(super) running: Running,
    pub(super) admin: SocketAddr,
    started: Instant,
}

/// A bootstrap that takes everything from this control plane.
pub(super) fn from_ads(ads: SocketAddr) -> String {
    ADS.replace("@HOST@", &ads.ip().to_string()).replace("@PORT@", &ads.port().to_string())
}

impl Proxy {
    /// Starts one; `port` is where it will listen for clients. Does not wait.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn launch(
        peer: &Installed,
        config: &str,
        port: u16,
        flags: &[&str],
        dir: &Path,
    ) -> Result<Self> {
        let admin = free_port()?;
        let text = ADMIN.replace("@ADMIN@", &admin.to_string()) + config;
        let common = ["--concurrency", "2", "-l", "error"];
        let flags: Vec<_> = common.iter().chain(flags).copied().collect();
        let started = Instant::now();
        let running = peer.launch(&text, port, &flags, dir)?;
        Ok(Self { running, admin: SocketAddr::from(([127, 0, 0, 1], admin)), started })
    }

    /// Waits until a request through it is answered with 200; how long that took from its start.
    ///
    /// # Errors
    /// It ends, or nothing is answered in time.
    pub(super) fn first_request(&mut self, path: &str) -> Result<Duration> {
        let addr = SocketAddr::from(([127, 0, 0, 1], self.running.port));
        self.until(|| get(addr, path).is_ok_and(|page| page.status == 200))
    }

    /// Waits until `/ready` says so.
    ///
    /// # Errors
    /// It ends, or does not become ready in time.
    pub(super) fn ready(&mut self) -> Result<Duration> {
        let admin = self.admin;
        self.until(|| get(admin, "/ready").is_ok_and(|page| page.status == 200))
    }

    fn until(&mut self, done: impl Fn() -> bool) -> Result<Duration> {
        loop {
            if done() {
                return Ok(self.started.elapsed());
            }
            self.running.check()?;
            ensure!(
                self.started.elapsed() < PATIENCE,
                "{} is not there after {PATIENCE:?}: {}",
                self.running.kind.title(),
                self.running.last_words()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// CPU time of the control (main) thread and of all workers.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let pid = self.running.pid();
        let mut cpu = Cpu::default();
        for thread in proc::threads(pid)? {
            if thread.id == pid {
                cpu.control += thread.cpu;
            } else if thread.name.starts_with("wrk:") {
                cpu.workers += thread.cpu;
            }
        }
        Ok(cpu)
    }
}

/// CPU time of threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) control: Duration,
    pub(super) workers: Duration,
}

impl Cpu {
    /// Microseconds of each between two moments.
    pub(super) fn since(self, before: Self) -> (f64, f64) {
        let micros = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1e6;
        (micros(self.control, before.control), micros(self.workers, before.workers))
    }
}

/// What came of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    /// Bytes, head included.
    pub(super) size: usize,
    pub(super) first_byte: Duration,
    pub(super) whole: Duration,
}

/// Reads a page on a connection of its own.
///
/// # Errors
/// No connection, no answer, or no HTTP.
pub(super) fn get(addr: SocketAddr, path: &str) -> Result<Page> {
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: perf\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut buffer = vec![0; 256 << 10];
    let (mut size, mut first_byte, mut head) = (0, None, Vec::new());
    loop {
        let read = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            Err(err) => return Err(err).context("reading a page"),
        };
        first_byte.get_or_insert_with(|| started.elapsed());
        if head.len() < 16 {
            head.extend_from_slice(&buffer[..read.min(16)]);
        }
        size += read;
    }
    let whole = started.elapsed();
    Ok(Page { status: status(&head)?, size, first_byte: first_byte.unwrap_or(whole), whole })
}

/// A keep-alive connection for requests whose answers are short.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) fn connect(addr: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// The status of an answer, which is read to its end.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn get(&mut self, path: &str) -> Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: perf\r\n\r\n");
        self.0.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.0.read(&mut buffer)? {
                0 => bail!("the connection was closed"),
                read => answer.extend_from_slice(&buffer[..read]),
            }
            if is_whole(&answer) {
                return status(&answer);
            }
        }
    }
}

/// Whether an answer with a length, or in chunks, is there to its end.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) => body.len() >= length,
        None => body.ends_with("0\r\n\r\n"),
    }
}

fn status(answer: &[u8]) -> Result<u16> {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.with_context(|| format!("no HTTP answer: {text:?}"))
}
