//! Suites that others wrote, run against a proxy. Each runner starts the proxy on a configuration
//! of `tests/e2e/suites`, the suite's own server behind it, then the suite's client, and reads what
//! the client says. `.ci/tools suites` installs them into the cache folder.

pub mod autobahn;
pub mod connect;
pub mod control_plane;
pub mod grpc;
pub mod h2spec;
pub mod scan;
pub mod slow;

use crate::certs::{Spec, Store};
use crate::diff::e2e_dir;
use crate::ports;
use crate::proxy::{self, Kind, Proxy};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a suite says of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many cases ran.
    pub total: usize,
    /// The names of those that failed, with a reason where there is one.
    pub failed: Vec<String>,
    /// Figures for people.
    pub notes: Vec<String>,
}

impl Outcome {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{} of {} passed\n", self.passed(), self.total);
        for line in self.notes.iter().chain(&self.failed) {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }

    /// How many passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.total.saturating_sub(self.failed.len())
    }
}

/// A proxy on a configuration of `tests/e2e/suites`.
#[derive(Debug)]
pub struct Setup {
    /// The proxy.
    pub proxy: Proxy,
    listeners: BTreeMap<String, u16>,
}

impl Setup {
    /// Starts `kind` on `NAME.yaml`. `{{upstream}}` is `upstream`; `{{cert}}` and `{{key}}` are a
    /// self-signed certificate for localhost, `{{cert_rsa}}` and `{{key_rsa}}` one with an RSA key.
    ///
    /// # Errors
    /// The proxy does not start.
    pub fn start(kind: Kind, name: &str, upstream: u16) -> Result<Self> {
        let path = e2e_dir().join(format!("suites/{name}.yaml"));
        let template =
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let dir = proxy::new_dir()?;
        let certs = certificates()?;
        let mut listeners: BTreeMap<String, u16> = BTreeMap::new();
        let config = proxy::fill(&template, |name| match name {
            "dir" => Some(dir.display().to_string()),
            "upstream" => Some(upstream.to_string()),
            "cert" => certs.placeholder("cert:p256", &dir).ok(),
            "key" => certs.placeholder("key:p256", &dir).ok(),
            "cert_rsa" => certs.placeholder("cert:rsa", &dir).ok(),
            "key_rsa" => certs.placeholder("key:rsa", &dir).ok(),
            name => {
                let port = listeners.entry(name.to_owned()).or_insert_with(ports::free);
                Some(port.to_string())
            }
        })?;
        let admin = *listeners.get("admin").context("the configuration has no {{admin}}")?;
        let proxy = Proxy::start(kind, dir, &config, admin, &[])?;
        Ok(Self { proxy, listeners })
    }

    /// The port of a listener by the name of its placeholder.
    ///
    /// # Errors
    /// There is none.
    pub fn port(&self, listener: &str) -> Result<u16> {
        self.listeners.get(listener).copied().with_context(|| format!("no {{{{{listener}}}}}"))
    }
}

fn certificates() -> Result<Store> {
    let spec = |name: &str, key: &str| {
        let words = [name, "cn=localhost", "dns=localhost", "ip=127.0.0.1", key];
        Spec::parse(&words.map(str::to_owned))
    };
    Store::make(&[spec("p256", "key=p256")?, spec("rsa", "key=rsa")?])
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts a server and waits until it listens on `port`.
    ///
    /// # Errors
    /// It does not start, or does not listen within 20 s.
    pub fn server(command: &mut Command, port: u16) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let running = Self(command.spawn().with_context(|| format!("{command:?}"))?);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
            if Instant::now() > deadline {
                bail!("{command:?} does not listen on {port}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a client to its end, or to `limit`; what it printed, and whether it succeeded.
///
/// # Errors
/// It does not start, or is not done in time.
pub fn run(command: &mut Command, limit: Duration) -> Result<(String, bool)> {
    let dir = proxy::new_dir()?;
    let file = dir.join("out");
    let out = std::fs::File::create(&file)?;
    command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().ok();
            child.wait().ok();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
    std::fs::remove_dir_all(&dir).ok();
    match status {
        Some(status) => Ok((text, status.success())),
        None => bail!("not done after {limit:?}:\n{text}"),
    }
}
