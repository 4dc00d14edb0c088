//! Finding, starting and stopping the proxies.

use super::config::{self, Task};
use super::data::Peer;
use super::scenario::Scenario;
use crate::cli::CompareArgs;
use crate::load::{Load, Target};
use crate::proc;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This one.
    Ringway,
    /// Envoy.
    Envoy,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Ringway, Self::Envoy, Self::Haproxy, Self::Nginx];

    /// As people write it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ringway => "ringway",
            Self::Envoy => "Envoy",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// As `--peers` takes it.
    pub(super) fn from_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.title().eq_ignore_ascii_case(name));
        let all = "ringway, envoy, haproxy, nginx";
        found.with_context(|| format!("--peers {name}: unknown; there are {all}"))
    }

    fn candidates(self, args: &CompareArgs) -> Vec<PathBuf> {
        let given = match self {
            Self::Ringway => args.ringway.clone(),
            Self::Envoy => args.envoy.clone(),
            Self::Haproxy | Self::Nginx => None,
        };
        if let Some(path) = given {
            return vec![path];
        }
        match self {
            Self::Ringway => {
                let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
                let target = target.unwrap_or_else(|| PathBuf::from("target"));
                vec![target.join("release/ringway"), target.join("quick/ringway")]
            }
            Self::Envoy => {
                let mut all: Vec<_> =
                    cache().map(|dir| dir.join("envoy/bin/envoy")).into_iter().collect();
                all.push(PathBuf::from("envoy"));
                all
            }
            Self::Haproxy => vec!["haproxy".into(), "/usr/sbin/haproxy".into()],
            Self::Nginx => vec!["nginx".into(), "/usr/sbin/nginx".into()],
        }
    }

    fn command(self, binary: &Path, config: &Path, dir: &Path, flags: &str) -> Command {
        let mut command = Command::new(binary);
        match self {
            Self::Ringway | Self::Envoy => {
                command.arg("-c").arg(config);
                command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
            }
            Self::Haproxy => {
                command.args(["-db", "-f"]).arg(config);
            }
            Self::Nginx => {
                command.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log"));
                command.arg("-c").arg(config);
            }
        }
        if self == Self::Ringway {
            command.args(flags.split_whitespace());
        }
        command
    }
}

/// Where tools of the project are installed: see the Makefile.
fn cache() -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os("RINGWAY_CACHE") {
        return Some(dir.into());
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)?.join("ringway"))
}

/// An installed proxy.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) kind: Kind,
    pub(super) version: String,
    binary: PathBuf,
    flags: String,
    core: usize,
}

impl Installed {
    /// Those of `--peers` that are `wanted`; of one that is not there a note is made.
    ///
    /// # Errors
    /// There is none at all.
    pub(super) fn all(
        args: &CompareArgs,
        wanted: impl Fn(Kind) -> bool,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Self>> {
        let mut peers = Vec::new();
        for name in &args.peers {
            let kind = Kind::from_name(name)?;
            if !wanted(kind) {
                continue;
            }
            match Self::find(kind, args) {
                Ok(peer) => peers.push(peer),
                Err(err) => {
                    eprintln!("ringway-perf: left out: {err:#}");
                    notes.push(format!("Left out: {err:#}."));
                }
            }
        }
        ensure!(!peers.is_empty(), "none of the peers is installed");
        Ok(peers)
    }

    /// How a report names it.
    pub(super) fn peer(&self) -> Peer {
        Peer { kind: self.kind, version: self.version.clone() }
    }

    /// Looks for it and asks for its version.
    ///
    /// # Errors
    /// Says where it was looked for.
    fn find(kind: Kind, args: &CompareArgs) -> Result<Self> {
        let candidates = kind.candidates(args);
        let flag = if matches!(kind, Kind::Haproxy | Kind::Nginx) { "-v" } else { "--version" };
        for binary in &candidates {
            let Ok(output) = Command::new(binary).arg(flag).output() else { continue };
            let text = [output.stdout, output.stderr].concat();
            return Ok(Self {
                kind,
                version: version_in(&String::from_utf8_lossy(&text)),
                binary: binary.clone(),
                flags: args.ringway_flags.clone(),
                core: args.proxy_core,
            });
        }
        let list: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        bail!("{} is not installed (looked for {})", kind.title(), list.join(", "))
    }

    /// Starts it and sends requests for a moment, to see that it forwards: those of `scenario`, or
    /// to the first route where there are routes.
    ///
    /// # Errors
    /// As [`Installed::start_untouched`]; or an answer is none, or has a status of 400 or above.
    pub(super) fn start(&self, task: Task, scenario: &Scenario, dir: &Path) -> Result<Running> {
        let routes = task.routes;
        let running = self.start_untouched(task, dir)?;
        running.try_out(match routes {
            0 => scenario.target(running.port)?,
            _ => Target::get(&running.url(&(config::prefix(0) + "100b")), true)?,
        })?;
        Ok(running)
    }

    /// Starts it with this configuration and these flags, and does not wait; `port` is where it
    /// will listen.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn launch(
        &self,
        config: &str,
        port: u16,
        flags: &[&str],
        dir: &Path,
    ) -> Result<Running> {
        let dir = dir.join(format!("{}-{port}-{}", self.kind.title(), free_port()?));
        fs::create_dir_all(&dir)?;
        let file = dir.join("envoy.yaml");
        fs::write(&file, config)?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(file).args(flags);
        if self.kind == Kind::Ringway {
            command.args(self.flags.split_whitespace());
        }
        self.spawn(command, port, &dir)
    }

    fn spawn(&self, mut command: Command, port: u16, dir: &Path) -> Result<Running> {
        let log = dir.join("output.log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on(self.core, command)
            .with_context(|| format!("starting {}", self.binary.display()))?;
        Ok(Running { kind: self.kind, port, child, log })
    }

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// It ends or does not listen in 30 seconds; the message has the end of what it printed.
    pub(super) fn start_untouched(&self, mut task: Task, dir: &Path) -> Result<Running> {
        task.port = free_port()?;
        let dir = dir.join(format!("{}-{}", self.kind.title(), task.port));
        fs::create_dir_all(&dir)?;
        let files = config::files(self.kind, &task, &dir);
        for (name, text) in &files {
            fs::write(dir.join(name), text)?;
        }
        let config = dir.join(files.first().context("no configuration")?.0);
        let command = self.kind.command(&self.binary, &config, &dir, &self.flags);
        let mut running = self.spawn(command, task.port, &dir)?;
        running.wait_until_ready()?;
        Ok(running)
    }
}

/// A proxy at work; dropping it ends it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) kind: Kind,
    pub(super) port: u16,
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Fails when the process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself ({status}): {}", self.kind.title(), self.last_words());
        }
        Ok(())
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port));
        let patience = Duration::from_secs(1);
        loop {
            self.check()?;
            if TcpStream::connect_timeout(&addr, patience).is_ok() {
                return Ok(());
            }
            ensure!(
                started.elapsed() < Duration::from_secs(30),
                "{} does not listen after 30 s: {}",
                self.kind.title(),
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn try_out(&self, target: Target) -> Result<()> {
        let report = Load::trial(target).run(false)?;
        ensure!(
            report.answered > 0 && report.failed() == 0,
            "{} does not forward: statuses {:?}, failures {:?}: {}",
            self.kind.title(),
            report.statuses,
            report.failures,
            self.last_words()
        );
        Ok(())
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn terminate(&self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("no process number")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(())
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child inherits the cores of the thread that starts it.
fn spawn_on(core: usize, mut command: Command) -> Result<Child> {
    let thread = std::thread::spawn(move || -> Result<Child> {
        proc::pin(core)?;
        Ok(command.spawn()?)
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A build of ours that is not worth measuring says so in its name.
fn own_version(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| c == '/' || c.is_whitespace());
    let version = words.find_map(|word| word.strip_prefix("ringway-"))?;
    let debug = text.contains("DEBUG");
    Some(if debug { format!("{version} (DEBUG BUILD)") } else { version.to_owned() })
}

/// The first word with two dots between numbers: `1.40.0`.
///
/// Ringway says which Envoy it stands in for, and then its own: that counts.
pub(super) fn version_in(text: &str) -> String {
    if let Some(version) = own_version(text) {
        return version;
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-');
    let version = |word: &&str| {
        let numbers = word.split(['.', '-']).take(3);
        numbers.filter(|part| part.parse::<u32>().is_ok()).count() == 3
    };
    words.into_iter().find(version).unwrap_or("unknown").to_owned()
}
