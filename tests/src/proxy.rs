//! A proxy process: Envoy, or ringway on one of its I/O backends.
//!
//! LIFECYCLE: configuration written → process started → admin `/ready` says LIVE → used → killed
//! when dropped (its files are removed with it).

use crate::wire::Peer;
use crate::{bins, ports};
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Who stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The oracle.
    Envoy,
    /// The proxy under test, on the backend of that name (`uring`, `uring-5.11`, `epoll`).
    Ringway(&'static str),
}

impl Kind {
    /// A word for titles and test names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Ringway(backend) => backend,
        }
    }

    fn command(self) -> Result<Command> {
        let (path, backend) = match self {
            Self::Envoy => (bins::envoy(), None),
            Self::Ringway(backend) => (bins::ringway(), Some(backend)),
        };
        let mut command = Command::new(path.map_err(anyhow::Error::msg)?);
        if let Some(backend) = backend {
            command.args(["--io-backend", backend]);
        }
        Ok(command)
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// Its configuration, logs and sockets.
    pub dir: PathBuf,
    admin: SocketAddr,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A new empty folder for one proxy.
///
/// # Errors
/// It cannot be created.
pub fn new_dir() -> Result<PathBuf> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("ringway-{}-{serial}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    Ok(dir)
}

impl Proxy {
    /// Starts `kind` on a finished configuration and waits until it is ready; with one worker,
    /// unless `args` has a `--concurrency` of its own.
    ///
    /// # Errors
    /// It ended or was not ready in time; the message holds the end of its log.
    pub fn start(
        kind: Kind,
        dir: PathBuf,
        config: &str,
        admin_port: u16,
        args: &[String],
    ) -> Result<Self> {
        let file = dir.join("config.yaml");
        fs::write(&file, config)?;
        let log = fs::File::create(dir.join("stderr"))?;
        let own = args.iter().any(|arg| arg == "--concurrency");
        let workers: &[&str] = if own { &[] } else { &["--concurrency", "1"] };
        let child = kind
            .command()?
            .arg("-c")
            .arg(&file)
            .args(workers)
            .args(["--disable-hot-restart", "-l", "warning"])
            .args(["--file-flush-interval-msec", "20"])
            .args(["--service-node", "node", "--service-cluster", "tests"])
            .args(args)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.join("stdout"))?)
            .stderr(log)
            .spawn()
            .context("starting the proxy")?;
        let admin = SocketAddr::from(([127, 0, 0, 1], admin_port));
        let mut proxy = Self { child, dir, admin };
        proxy.wait_ready(kind)?;
        Ok(proxy)
    }

    fn wait_ready(&mut self, kind: Kind) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} at start:\n{}", kind.name(), self.log_tail());
            }
            if self.admin_get("/ready").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after 30 s:\n{}", kind.name(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines the proxy wrote to standard error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// Asks the admin interface.
    ///
    /// # Errors
    /// No whole answer within 5 s.
    pub fn admin_get(&self, path: &str) -> Result<(u16, String)> {
        let mut peer = Peer::connect(self.admin)?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        peer.send(request.as_bytes());
        let deadline = Instant::now() + Duration::from_secs(5);
        let failed = |end| anyhow::anyhow!("admin {path}: no whole answer ({end:?})");
        let head = peer.head(deadline).map_err(failed)?;
        let body = match peer.response_body(&head, false, deadline) {
            Ok(
                crate::wire::Body::Length(data)
                | crate::wire::Body::Chunked(data, _)
                | crate::wire::Body::UntilClose(data),
            ) => data,
            Ok(crate::wire::Body::None) => Vec::new(),
            Err((end, _)) => return Err(failed(end)),
        };
        Ok((head.status(), String::from_utf8_lossy(&body).into_owned()))
    }

    /// One statistic; `None` when the proxy does not have it, or it is no number.
    #[must_use]
    pub fn stat(&self, name: &str) -> Option<i64> {
        self.stats(&[name.to_owned()]).first().copied().flatten()
    }

    /// Some statistics, of one moment.
    #[must_use]
    pub fn stats(&self, names: &[String]) -> Vec<Option<i64>> {
        let text = self.admin_get("/stats").map(|(_, body)| body).unwrap_or_default();
        let value = |name: &String| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(n, _)| n == name)
                .and_then(|(_, value)| value.trim().parse().ok())
        };
        names.iter().map(value).collect()
    }

    /// A file the proxy writes, as text; empty while there is none.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        fs::read(self.dir.join(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether the process still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The process id, for signals and /proc.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::env::var_os("RINGWAY_KEEP").is_none() {
            fs::remove_dir_all(&self.dir).ok();
        }
    }
}

/// Fills a configuration template: `{{NAME}}` becomes the value `lookup` gives for NAME.
///
/// # Errors
/// A name that `lookup` does not know, or a `{{` without its end.
pub fn fill(template: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find("}}").context("a {{ has no }}")?;
        let name = rest[at + 2..at + end].trim();
        out.push_str(&lookup(name).with_context(|| format!("unknown placeholder {name}"))?);
        rest = &rest[at + end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// An address nobody listens on.
#[must_use]
pub fn dead_port() -> u16 {
    ports::free()
}

/// Whether a path is a unix socket that somebody made.
#[must_use]
pub fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|m| m.file_type().is_socket())
}
