//! ringway as a process: how it starts, refuses to start, drains, and what it does that Envoy does
//! not. What Envoy does the same way is checked on Envoy too (profile `all`).

mod files;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use ringway_tests::diff::case::File;
use ringway_tests::diff::client::Clients;
use ringway_tests::diff::side::Side;
use ringway_tests::proxy::{self, Kind};
use ringway_tests::wire::{End, Peer};
use ringway_tests::{bins, diff, ports};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

type Test = fn(Kind) -> Result<()>;

/// Name, test, and whether Envoy passes it as well.
const TESTS: [(&str, Test, bool); 13] = [
    ("a_missing_file_is_named", missing_file, true),
    ("a_port_in_use_is_named", port_in_use, true),
    ("a_bad_configuration_listens_nowhere", bad_configuration, true),
    ("every_error_has_a_place", errors_have_places, false),
    ("version_and_help", version_and_help, true),
    ("sigterm_lets_requests_finish", sigterm_drains, false),
    ("a_second_sigterm_ends_at_once", second_sigterm, false),
    ("a_dead_reused_connection_is_no_error", reused_connection, false),
    ("a_slow_reader_holds_bounded_memory", slow_reader, true),
    ("garbage_on_many_connections", garbage, true),
    ("files_are_counted", files::counted, true),
    ("endpoints_go_stale", files::stale, true),
    ("idle_connections_hold_no_buffers", idle_memory, false),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let subjects =
        [Kind::Envoy, Kind::Ringway("uring"), Kind::Ringway("uring-5.11"), Kind::Ringway("epoll")];
    let mut trials = Vec::new();
    for subject in subjects {
        let missing = binary(subject).err();
        if let Some(reason) = &missing
            && !arguments.list
        {
            eprintln!("skipped: process tests of {}: {reason}", subject.name());
        }
        for (name, test, envoy_too) in TESTS {
            if subject == Kind::Envoy && !envoy_too {
                continue;
            }
            let run = move || test(subject).map_err(|error| Failed::from(format!("{error:#}")));
            let name = format!("{}::{name}", subject.name());
            trials.push(Trial::test(name, run).with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn binary(kind: Kind) -> Result<PathBuf, String> {
    match kind {
        Kind::Envoy => bins::envoy(),
        Kind::Ringway(_) => bins::ringway(),
    }
}

/// Runs a proxy that is expected to end by itself.
fn ends(kind: Kind, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary(kind).map_err(anyhow::Error::msg)?);
    if let Kind::Ringway(backend) = kind {
        command.args(["--io-backend", backend]);
    }
    let mut child = command
        .args(arguments)
        .args(["--disable-hot-restart", "--concurrency", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            let output = child.wait_with_output()?;
            bail!("runs on:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child.wait_with_output()?)
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// The plain configuration of the differential tests with ports filled in.
fn plain(listener: u16) -> Result<String> {
    let (_, template) = diff::load("basic")?;
    proxy::fill(&template, |name| {
        Some(if name == "listener_0" { listener } else { ports::free() }.to_string())
    })
}

/// A folder with a configuration, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(config: &str) -> Result<Self> {
        let folder = Self(proxy::new_dir()?);
        std::fs::write(folder.0.join("config.yaml"), config)?;
        Ok(folder)
    }

    fn file(&self) -> String {
        self.0.join("config.yaml").to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn missing_file(kind: Kind) -> Result<()> {
    let output = ends(kind, &["-c", "no-such-file.yaml"])?;
    ensure!(output.status.code() == Some(1), "exit status {}", output.status);
    ensure!(text(&output).contains("no-such-file.yaml"), "{}", text(&output));
    Ok(())
}

fn port_in_use(kind: Kind) -> Result<()> {
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let port = holder.local_addr()?.port();
    let folder = Folder::new(&plain(port)?)?;
    let output = ends(kind, &["-c", &folder.file()])?;
    ensure!(output.status.code() == Some(1), "exit status {}", output.status);
    ensure!(text(&output).contains(&port.to_string()), "{}", text(&output));
    Ok(())
}

fn bad_configuration(kind: Kind) -> Result<()> {
    let port = ports::free();
    let config = plain(port)?.replace("connect_timeout: 1s", "connect_timeout: soon");
    let folder = Folder::new(&config)?;
    let output = ends(kind, &["-c", &folder.file()])?;
    ensure!(output.status.code() == Some(1), "exit status {}", output.status);
    ensure!(text(&output).contains("connect_timeout"), "{}", text(&output));
    ensure!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listened");
    Ok(())
}

fn errors_have_places(kind: Kind) -> Result<()> {
    let config = plain(ports::free())?
        .replace("connect_timeout: 1s", "connect_timeout: soon")
        .replace("stat_prefix: ingress", "stat_prefx: ingress");
    let folder = Folder::new(&config)?;
    let file = folder.file();
    let place = |needle: &str| config.lines().position(|line| line.contains(needle)).map(|n| n + 1);
    let plain = text(&ends(kind, &["-c", &file, "--mode", "validate"])?);
    for needle in ["connect_timeout: soon", "stat_prefx"] {
        let line = place(needle).context("the line is gone")?;
        let at = format!("config.yaml:{line}:");
        ensure!(plain.contains(&at), "no {at} for {needle} in:\n{plain}");
    }
    ensure!(plain.contains("stat_prefix"), "no suggestion for the near miss:\n{plain}");
    let output = ends(kind, &["-c", &file, "--mode", "validate", "--validate-output", "json"])?;
    ensure!(output.status.code() == Some(1), "exit status {}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout).context("no JSON")?;
    let dumped = document.to_string();
    ensure!(dumped.contains("connect_timeout") && dumped.contains("stat_prefx"), "{dumped}");
    Ok(())
}

fn version_and_help(kind: Kind) -> Result<()> {
    for flag in ["--version", "--help"] {
        let output = ends(kind, &[flag])?;
        ensure!(output.status.success(), "{flag}: exit status {}", output.status);
        ensure!(!text(&output).trim().is_empty(), "{flag} prints nothing");
    }
    Ok(())
}

/// A proxy on the plain configuration, with the steps of one case.
fn start(kind: Kind, cases: &str) -> Result<(Side, File)> {
    let (_, template) = diff::load("basic")?;
    let file = File::parse(cases)?;
    Ok((Side::start(kind, &template, &file, &std::sync::Arc::default())?, file))
}

fn terminate(pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
    ensure!(status.success(), "kill: {status}");
    Ok(())
}

fn wait_for_end(side: &mut Side, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    while side.proxy.alive() {
        ensure!(began.elapsed() < within, "still runs after {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(began.elapsed())
}

fn sigterm_drains(kind: Kind) -> Result<()> {
    let (mut side, file) = start(
        kind,
        "args: --drain-time-s 2\ncase slow\n  up 0: wait 700ms ; reply 200 \"whole\"\n  \
         > GET / HTTP/1.1\n  > host: a\n  >\n  await up 0 1\n",
    )?;
    side.begin(&file.cases[0])?;
    let reading = File::parse("case rest\n  < 200\n")?;
    let pid = side.proxy.pid();
    let mut clients = Clients::new(&side);
    clients.run(&file.cases[0]);
    terminate(pid)?;
    clients.run(&reading.cases[0]);
    let lines = clients.lines.join("\n");
    drop(clients);
    ensure!(lines.contains("200 OK") && lines.contains("\"whole\""), "the answer:\n{lines}");
    wait_for_end(&mut side, Duration::from_secs(10))?;
    Ok(())
}

fn second_sigterm(kind: Kind) -> Result<()> {
    let (mut side, file) = start(
        kind,
        "args: --drain-time-s 60\ncase slow\n  up 0: hang\n  > GET / HTTP/1.1\n  > host: a\n  >\n  \
         await up 0 1\n",
    )?;
    side.begin(&file.cases[0])?;
    let pid = side.proxy.pid();
    let mut clients = Clients::new(&side);
    clients.run(&file.cases[0]);
    terminate(pid)?;
    std::thread::sleep(Duration::from_millis(300));
    terminate(pid)?;
    drop(clients);
    wait_for_end(&mut side, Duration::from_secs(2))?;
    Ok(())
}

/// Envoy answers 503 here: the server closes a connection just when a request is sent on it.
fn reused_connection(kind: Kind) -> Result<()> {
    let (side, file) = start(
        kind,
        "case reuse\n  up 0: reply 200 \"first\"\n  up 0: close\n  up 0: reply 200 \"second\"\n  \
         up 0: close\n  get /1\n  get /2\n  post /3 = \"a whole body\"\n",
    )?;
    side.begin(&file.cases[0])?;
    let mut clients = Clients::new(&side);
    clients.run(&file.cases[0]);
    let ok = clients.lines.iter().filter(|line| line.contains("HTTP/1.1 200")).count();
    ensure!(ok == 3, "{ok} of 3 answers are 200:\n{}", clients.lines.join("\n"));
    ensure!(side.requests_seen(0) == 5, "the server saw {} requests", side.requests_seen(0));
    Ok(())
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}

fn slow_reader(kind: Kind) -> Result<()> {
    let (side, file) = start(
        kind,
        "case slow\n  up 0*8: reply 200 \"\\{0123456789abcdef*1000000}\"\n  get /warm\n  state\n",
    )?;
    side.begin(&file.cases[0])?;
    let mut warm = Clients::new(&side);
    warm.run(&file.cases[0]);
    drop(warm);
    let before = resident(side.proxy.pid())?;
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut peer = side.connect("listener_0")?;
        peer.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
        readers.push(peer);
    }
    std::thread::sleep(Duration::from_millis(1500));
    let grown = resident(side.proxy.pid())?.saturating_sub(before);
    // The default limit is 1 MiB per connection and direction; the bodies are 16 MB each.
    ensure!(grown < 40 * 1024, "grew by {grown} KiB with 6 readers that read nothing");
    Ok(())
}

fn garbage(kind: Kind) -> Result<()> {
    let (mut side, _) = start(kind, "case none\n  get /\n")?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    const START: &[u8] =
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for round in 0..300_u64 {
        let mut peer = side.connect("listener_0")?;
        let mut bytes: Vec<u8> = START[..(random() as usize) % START.len()].to_vec();
        let len = random() % 300;
        bytes.extend((0..len).map(|_| random() as u8));
        peer.send(&bytes);
        match round % 3 {
            0 => peer.reset(),
            1 => peer.fin(),
            _ => drop(peer),
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    ensure!(side.proxy.alive(), "died:\n{}", side.proxy.log_tail());
    let file = File::parse("case after\n  get / -> 200\n")?;
    side.begin(&file.cases[0])?;
    let mut clients = Clients::new(&side);
    clients.run(&file.cases[0]);
    ensure!(clients.surprises.is_empty(), "{:?} {:?}", clients.surprises, clients.lines);
    Ok(())
}

fn idle_memory(kind: Kind) -> Result<()> {
    const CONNECTIONS: usize = 400;
    let (side, _) = start(kind, "case none\n  get /\n")?;
    let get = |peer: &mut Peer| -> Result<(), End> {
        peer.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let deadline = Instant::now() + Duration::from_secs(5);
        let head = peer.head(deadline)?;
        peer.response_body(&head, false, deadline).map(drop).map_err(|(end, _)| end)
    };
    let mut peers = Vec::new();
    let mut before = 0;
    for n in 0..CONNECTIONS {
        // The first connections also pay for what is allocated once.
        if n == CONNECTIONS / 2 {
            before = resident(side.proxy.pid())?;
        }
        let mut peer = side.connect("listener_0")?;
        get(&mut peer).map_err(|end| anyhow::anyhow!("connection {n}: {end:?}"))?;
        peers.push(peer);
    }
    let grown = resident(side.proxy.pid())?.saturating_sub(before);
    let per_connection = grown as f64 / (CONNECTIONS / 2) as f64;
    println!("{per_connection:.2} KiB per idle connection");
    ensure!(per_connection < 8.0, "{per_connection:.2} KiB per idle connection");
    Ok(())
}
