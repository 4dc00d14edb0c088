//! What restarts are tested with: processes, a server that answers everything, and clients that
//! notice every request without an answer.

use crate::{bins, proxy};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// One process of a chain; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    dir: PathBuf,
    admin: SocketAddr,
}

impl Worker {
    /// Starts a process on a configuration with these flags.
    ///
    /// # Errors
    /// There is no binary, or it does not start.
    pub fn spawn(config: &str, flags: &str, admin: u16) -> Result<Self> {
        let dir = proxy::new_dir()?;
        let file = dir.join("config.yaml");
        fs::write(&file, config)?;
        let child = Command::new(bins::ringway().map_err(anyhow::Error::msg)?)
            .arg("-c")
            .arg(&file)
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr"))?)
            .spawn()?;
        Ok(Self { child, dir, admin: SocketAddr::from(([127, 0, 0, 1], admin)) })
    }

    /// Waits until this process, of this epoch, accepts.
    ///
    /// # Errors
    /// It ended, or takes too long; with its log.
    pub fn wait_live(&mut self, epoch: u32) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("epoch {epoch} ended with {status} at start:\n{}", self.log());
            }
            let info = self.admin("/server_info").unwrap_or_default();
            let own = info.contains(&format!("\"restart_epoch\": {epoch},"))
                || info.contains(&format!("\"restart_epoch\":{epoch},"));
            if own && info.contains("\"LIVE\"") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "epoch {epoch} is not live:\n{}\n{info}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until `/server_info` tells this state.
    ///
    /// # Errors
    /// It takes too long.
    pub fn wait_state(&self, state: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let info = self.admin("/server_info").unwrap_or_default();
            if info.contains(&format!("\"{state}\"")) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "not {state}:\n{info}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It has not, within this time.
    pub fn wait_end(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "still runs after {within:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its exit code, once it has ended.
    pub fn code(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten()?.code()
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "kill: {status}");
        Ok(())
    }

    /// What it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("stderr")).unwrap_or_default()
    }

    /// The body of an admin page.
    ///
    /// # Errors
    /// There is none.
    pub fn admin(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// A statistic by its whole name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn number(&self, name: &str) -> Result<i64> {
        let text = self.admin("/stats")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    }

    /// A statistic of a listener.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn stat(&self, before: &str, name: &str, port: &u16) -> Result<i64> {
        self.number(&format!("{before}{port}.{name}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill().ok();
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// A server that answers every request with 200; `?ms=N` says when.
#[derive(Debug)]
pub struct Server {
    port: u16,
}

impl Server {
    /// Starts it; it runs until the test process ends.
    ///
    /// # Errors
    /// No port is free.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { port })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    loop {
        let head = read_head(&mut stream).ok()?;
        if let Some((_, rest)) = head.split_once("?ms=") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            std::thread::sleep(Duration::from_millis(digits.parse().ok()?));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").ok()?;
    }
}

/// Reads up to the empty line; nothing may follow it.
fn read_head(stream: &mut TcpStream) -> Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        ensure!(count > 0, "closed after {} bytes", head.len());
        head.extend_from_slice(&piece[..count]);
        if head.windows(4).any(|four| four == b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
}

/// A connection of a client.
#[derive(Debug)]
pub struct Tail(TcpStream);

impl Tail {
    /// Connects to a port of this machine.
    ///
    /// # Errors
    /// Nobody listens, or answers in time.
    pub fn connect(port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, ANSWER).context("connecting")?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.0.write_all(request.as_bytes()).context("sending")
    }

    /// Reads an answer with its body of two bytes; answers its head.
    ///
    /// # Errors
    /// There is none, or another one than the server's.
    pub fn answer(&mut self) -> Result<String> {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = self.0.read(&mut piece).context("reading")?;
            ensure!(count > 0, "closed after {} bytes of an answer", text.len());
            text.extend_from_slice(&piece[..count]);
            if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
                ensure!(head.starts_with("http/1.1 200"), "{head}");
                if text.len() >= end + 6 {
                    return Ok(head.replace("200 ok", "200 OK"));
                }
            }
        }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&mut self, path: &str) -> Result<String> {
        self.send(path)?;
        self.answer()
    }
}

/// Clients that ask one request after the other, each on a connection of its own for as long as
/// that is open.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<(usize, Vec<String>)>>,
}

impl Clients {
    /// Starts so many of them.
    #[must_use]
    pub fn start(port: u16, count: usize) -> Self {
        let (stop, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..count)
            .map(|_| {
                let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
                std::thread::spawn(move || client(port, &stop, &connections))
            })
            .collect();
        Self { stop, connections, threads }
    }

    /// Ends them: requests that were answered, what went wrong with others, and connections used.
    #[must_use]
    pub fn stop(self) -> (usize, Vec<String>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut answered, mut failures) = (0, Vec::new());
        for thread in self.threads {
            let (requests, failed) =
                thread.join().unwrap_or_else(|_| (0, vec!["panicked".to_owned()]));
            answered += requests;
            failures.extend(failed);
        }
        (answered, failures, self.connections.load(Ordering::Relaxed))
    }
}

fn client(port: u16, stop: &AtomicBool, connections: &AtomicUsize) -> (usize, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    let mut tail = None;
    while !stop.load(Ordering::Relaxed) {
        let mut current = match tail.take() {
            Some(tail) => tail,
            None => match Tail::connect(port) {
                Ok(tail) => {
                    connections.fetch_add(1, Ordering::Relaxed);
                    tail
                }
                Err(error) => {
                    failures.push(format!("{error:#}"));
                    continue;
                }
            },
        };
        match current.get("/load") {
            Ok(head) => {
                answered += 1;
                if !head.contains("connection: close") {
                    tail = Some(current);
                }
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    (answered, failures)
}
