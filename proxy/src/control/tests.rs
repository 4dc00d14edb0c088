//! A whole process but for its shards: they are replaced by ones that only count messages.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_runtime::file::AppendOptions;
use ringway_runtime::{Backend, Runtime};

use super::admin::info::Facts;
use super::admin::runtime::Layers;
use super::dump::ConfigDump;
use super::gauges::Names;
use super::message::{DrainStrategy, Message};
use super::start::{self, Options, Setup, ShardStart, StartError};
use super::state::Server;
use crate::config::compile::{Compiler, Dynamic};
use crate::observe::stats::Registry;
use crate::plan::{Address, Plan};

/// What shards were told, all together.
#[derive(Debug, Default)]
struct Told {
    installs: AtomicU64,
    drains: AtomicU64,
    stops: AtomicU64,
    health: AtomicU64,
    shutdowns: AtomicU64,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::SeqCst)
}

fn counting_shard(start: ShardStart, told: &Told) -> std::io::Result<()> {
    let mut runtime = Runtime::new(start.runtime)?;
    runtime.block_on(async {
        let mailbox = start.mesh.attach()?;
        let shard = start.index;
        loop {
            let answer = match mailbox.recv().await {
                Message::Install(change) => {
                    count(&told.installs);
                    Message::Installed { shard, version: change.version }
                }
                Message::Drain(_) => {
                    count(&told.drains);
                    Message::Drained { shard }
                }
                Message::Shutdown => {
                    count(&told.shutdowns);
                    return Ok(());
                }
                other => {
                    match other {
                        Message::StopListening(_) => count(&told.stops),
                        Message::HealthCheckFailed(_) => count(&told.health),
                        _ => 0,
                    };
                    continue;
                }
            };
            mailbox.send(start.shards, answer).map_err(|_| std::io::Error::other("full"))?;
        }
    })
}

fn setup(shards: usize, address_file: &std::path::Path, told: &Arc<Told>) -> Setup {
    let told = Arc::clone(told);
    let mut registry = Registry::new(start::writers(shards));
    Setup {
        names: Names::new(&mut registry, shards),
        plan: Plan { version: 1, ..Plan::default() },
        dynamic: Dynamic::default(),
        compiler: Compiler::new(shards, false),
        registry,
        identity: Default::default(),
        dump: ConfigDump::default(),
        facts: Facts::default(),
        layers: Layers::new(),
        server: Arc::new(Server::starting()),
        options: Options {
            concurrency: shards,
            pin: false,
            backend: Backend::Epoll,
            drain_time: Duration::from_millis(50),
            drain_strategy: DrainStrategy::Gradual,
            admin: Some(Address::Ip(([127, 0, 0, 1], 0).into())),
            admin_socket_options: Vec::new(),
            admin_allow_paths: Vec::new(),
            admin_access_logs: Vec::new(),
            ceiling: Arc::default(),
            admin_ignores_ceiling: false,
            logs: AppendOptions::default(),
            admin_address_path: Some(address_file.to_owned()),
            stats_flush_interval: Duration::from_secs(5),
        },
        restart: None,
        shard: Arc::new(move |start| counting_shard(start, &told)),
    }
}

/// A running process; ends when it is told to.
struct Process {
    thread: JoinHandle<Result<(), StartError>>,
    admin: SocketAddr,
    told: Arc<Told>,
}

impl Process {
    #[expect(clippy::disallowed_methods, reason = "this thread is no shard: it may wait")]
    fn start(name: &str) -> Self {
        let file = std::env::temp_dir().join(format!("ringway-{name}-{}", std::process::id()));
        let _absent = std::fs::remove_file(&file);
        let told = Arc::new(Told::default());
        let setup = setup(2, &file, &told);
        let thread = std::thread::spawn(move || start::run(setup));
        let admin = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            match text.parse() {
                Ok(address) => break address,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        std::fs::remove_file(&file).unwrap();
        let process = Self { thread, admin, told };
        while !process.ask("GET /ready").ends_with("LIVE\n\r\n0\r\n\r\n") {
            std::thread::sleep(Duration::from_millis(2));
        }
        process
    }

    #[expect(clippy::disallowed_methods, reason = "this thread is no shard: it may wait")]
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Sends one request and reads until the server closes.
    fn ask(&self, start_line: &str) -> String {
        let mut stream = self.connect();
        let request = format!("{start_line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn told(&self, what: fn(&Told) -> &AtomicU64) -> u64 {
        what(&self.told).load(Ordering::SeqCst)
    }

    #[expect(clippy::disallowed_methods, reason = "this thread is no shard: it may wait")]
    fn wait_until_told(&self, what: fn(&Told) -> &AtomicU64, times: u64) {
        for _ in 0..2500 {
            if self.told(what) >= times {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("told {} times, not {times}", self.told(what));
    }
}

#[test]
fn quitquitquit_answers_and_ends_the_process() {
    let process = Process::start("quit");
    assert_eq!(process.told(|t| &t.installs), 2);
    let answer = process.ask("POST /quitquitquit");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("OK\n"), "{answer}");
    assert!(process.thread.join().unwrap().is_ok());
    assert_eq!(process.told.shutdowns.load(Ordering::SeqCst), 2);
}

#[test]
fn commands_reach_every_shard() {
    let process = Process::start("commands");
    process.ask("POST /healthcheck/fail");
    process.wait_until_told(|t| &t.health, 2);
    assert!(process.ask("GET /ready").starts_with("HTTP/1.1 503 "));
    process.ask("POST /drain_listeners?graceful");
    process.wait_until_told(|t| &t.drains, 2);
    // The drain time is 50 ms; listeners close behind it.
    process.wait_until_told(|t| &t.stops, 2);
    process.ask("POST /quitquitquit");
    assert!(process.thread.join().unwrap().is_ok());
}

#[test]
fn a_connection_carries_many_requests_in_a_row() {
    let process = Process::start("keepalive");
    let mut stream = process.connect();
    let pipelined = "GET /ready HTTP/1.1\r\nhost: a\r\n\r\n\
        HEAD /listeners HTTP/1.1\r\nhost: a\r\n\r\n\
        POST /runtime_modify HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\
        content-type: application/x-www-form-urlencoded\r\n\r\na=b\
        POST /reset_counters HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
        connection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    stream.write_all(pipelined.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let statuses: Vec<&str> =
        answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "503", "200"], "{answers}");
    assert!(answers.contains("4\r\nLIVE\n\r\n0\r\n\r\n".replace('4', "5").as_str()), "{answers}");
    process.ask("POST /quitquitquit");
    process.thread.join().unwrap().unwrap();
}

#[test]
fn what_is_no_http_gets_envoys_status_and_the_connection_closes() {
    let process = Process::start("bad");
    for (bytes, status) in [
        ("GET /ready HTTP/1.0\r\n\r\n", "HTTP/1.1 426 Upgrade Required\r\n"),
        ("GET /ready HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let mut stream = process.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(status), "{bytes}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    process.ask("POST /quitquitquit");
    process.thread.join().unwrap().unwrap();
}

#[test]
fn an_address_in_use_is_named_and_nothing_starts() {
    let file = std::env::temp_dir().join(format!("ringway-in-use-{}", std::process::id()));
    let told = Arc::new(Told::default());
    let first = Process::start("first");
    let mut setup = setup(1, &file, &told);
    setup.options.admin = Some(Address::Ip(first.admin));
    let error = start::run(setup).unwrap_err().to_string();
    let expected = format!("admin: cannot bind '{}': ", first.admin);
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("another socket has this address"), "{error}");
    assert_eq!(told.installs.load(Ordering::SeqCst), 0);
    first.ask("POST /quitquitquit");
    first.thread.join().unwrap().unwrap();
}
