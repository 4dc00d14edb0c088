//! The command line.

use crate::compare::Suite;
use crate::units;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Load generator and comparison runner of Ringway.
#[derive(Debug, Parser)]
#[command(name = "ringway-perf", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve static answers, or send bytes back: what the proxies under test forward to.
    Upstream(UpstreamArgs),
    /// Send requests to a URL and measure latency and throughput.
    Load(LoadArgs),
    /// Serve clusters, endpoints, a listener and routes over ADS, and change them.
    Ads(AdsArgs),
    /// Run the same load through ringway, Envoy, HAProxy and nginx, and write a report.
    #[command(visible_alias = "bench")]
    Compare(CompareArgs),
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it could not run; the message says why
  2  wrong arguments
  3  it ran, but requests failed (load), or a target was missed and --check was given (compare)";

/// What an upstream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// HTTP/1.1 and, with prior knowledge, HTTP/2 with static answers. `upgrade: websocket` makes
    /// a connection an echo, `content-type: application/grpc` a request.
    #[default]
    Http,
    /// Sends back the bytes it gets.
    Echo,
    /// Drops the bytes it gets.
    Sink,
    /// Sends bytes as fast as they are taken.
    Source,
}

/// `ringway-perf upstream`.
#[derive(Debug, Args)]
#[command(after_help = "\
Paths (what is in front of them is ignored, so /any/prefix/100b works too):
  /100b /10k /1m    a body of 100, 10 240, 1 048 576 bytes
  /bytes/N          a body of N bytes, up to 1 GB
  ?delay=MS         behind any path: wait before answering (HTTP/1.1)

Examples:
  ringway-perf upstream --listen 127.0.0.1:9001 --cpu 1
  ringway-perf upstream --unix /tmp/up.sock
  ringway-perf upstream --serve echo --listen 127.0.0.1:9002
  curl -s 127.0.0.1:9001/bytes/300?delay=50 | wc -c

Exit codes: 0 ended by SIGINT or SIGTERM; 1 could not listen; 2 wrong arguments")]
pub struct UpstreamArgs {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9001")]
    pub listen: SocketAddr,
    /// Listen on this unix socket instead; a name after @ is abstract.
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub unix: Option<PathBuf>,
    /// What to do on each connection.
    #[arg(long, value_name = "WHAT", default_value = "http")]
    pub serve: Service,
    /// Core to run on; any when not given.
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Time to wait before each answer (HTTP/1.1).
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = units::duration)]
    pub delay: Duration,
    /// I/O level: auto, uring, uring-5.11, epoll.
    #[arg(long, value_name = "LEVEL", default_value = "auto")]
    pub io_backend: String,
}

/// `ringway-perf ads`.
#[derive(Debug, Args)]
#[command(after_help = "\
Clusters are named c00000, c00001, …; each endpoint has an address of its own in 127.0.0.0/8. The
listener `in` sends /moved to the last cluster and everything else to the first.

Examples:
  ringway-perf upstream --listen 0.0.0.0:9001
  ringway-perf ads --clusters 5000 --endpoints 2 --upstream 9001
  ringway-perf ads --clusters 5000 --update-rate 200
  ringway-perf ads --clusters 5000 --resend 1s

Exit codes: 0 ended by SIGINT or SIGTERM; 1 could not listen; 2 wrong arguments")]
pub struct AdsArgs {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:18000")]
    pub listen: SocketAddr,
    /// Number of EDS clusters.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub clusters: usize,
    /// Endpoints of each.
    #[arg(long, value_name = "M", default_value_t = 2)]
    pub endpoints: usize,
    /// Port of all endpoints.
    #[arg(long, value_name = "PORT", default_value_t = 9001)]
    pub upstream: u16,
    /// Address of the listener that clients get.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:10000")]
    pub proxy_listen: SocketAddr,
    /// EDS updates per second, cluster after cluster.
    #[arg(long, value_name = "R", value_parser = positive)]
    pub update_rate: Option<f64>,
    /// Send all clusters again, unchanged, in this interval.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub resend: Option<Duration>,
    /// Core to run on; any when not given.
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

/// `ringway-perf load`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --rate each connection sends its next request when the last one is answered (closed loop):
the figure is the throughput at saturation. With --rate requests are due at fixed times whatever
the server does (open loop), and latency counts from the time a request was due, so that a server
that stalls is charged for every request it kept waiting.

Examples:
  ringway-perf load http://127.0.0.1:10000/ -c 64 -d 10s
  ringway-perf load http://127.0.0.1:10000/100b -c 64 --rate 10000 --json
  ringway-perf load http://127.0.0.1:10000/ --rate 5000 --plot latency.html
  ringway-perf load http://127.0.0.1:10000/ --no-keepalive --watch $(pidof ringway)
  ringway-perf load https://127.0.0.1:10443/ --no-keepalive --resume
  ringway-perf load h2c://127.0.0.1:10000/100b -c 4 --streams 64
  ringway-perf load grpc://127.0.0.1:10000/echo.Echo/Say --streaming
  ringway-perf load ws://127.0.0.1:10000/echo --body 1k
  ringway-perf load tcp://127.0.0.1:10001 -c 16 --body 64k

Exit codes: 0 all requests answered with a status below 400; 1 could not run; 2 wrong arguments;
            3 ran, but some requests failed")]
pub struct LoadArgs {
    /// SCHEME://HOST:PORT/PATH. HOST is an IP address or a name.
    ///
    /// http, https: HTTP/1.1. h2c, h2: HTTP/2 with prior knowledge or over TLS. grpc, grpcs: calls
    /// of the method named by the path; ws, wss: WebSocket messages; tcp, tls: bytes: the server
    /// has to send the messages back. Certificates are not checked.
    #[arg(value_name = "URL")]
    pub url: String,
    /// Connections, kept open.
    #[arg(short, long, value_name = "N", default_value_t = 64)]
    pub connections: usize,
    /// Exchanges at once on each connection of HTTP/2 or gRPC.
    #[arg(short = 's', long, value_name = "M", default_value_t = 1)]
    pub streams: usize,
    /// gRPC: messages to and fro on streams that stay open, instead of unary calls.
    #[arg(long)]
    pub streaming: bool,
    /// Requests per second over all connections (open loop).
    #[arg(short, long, value_name = "R", value_parser = positive)]
    pub rate: Option<f64>,
    /// Time measured.
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub duration: Duration,
    /// Time of the same load before measuring.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub warmup: Duration,
    /// Send a body of this size (with POST unless --method says otherwise); for ws, tcp
    /// and gRPC the size of a message, 100 when not given.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = units::size)]
    pub body: u64,
    /// Method: GET, or POST with a body.
    #[arg(short, long, value_name = "METHOD")]
    pub method: Option<String>,
    /// Further header, "name: value"; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    pub headers: Vec<String>,
    /// A new connection for each request.
    #[arg(long)]
    pub no_keepalive: bool,
    /// Resume TLS sessions on new connections, instead of a full handshake each time.
    #[arg(long)]
    pub resume: bool,
    /// A request not answered in this time has failed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    pub timeout: Duration,
    /// Connect to this unix socket; the URL then only says path and host.
    #[arg(long, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Local addresses to connect from in turn (127.0.0.2,127.0.0.3): ports for more connections.
    #[arg(long, value_name = "IP,IP", value_delimiter = ',')]
    pub source: Vec<IpAddr>,
    /// Threads; connections and rate are divided among them.
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// First core to run on: thread I takes core N + I.
    #[arg(long, value_name = "N")]
    pub pin: Option<usize>,
    /// I/O level: auto, uring, uring-5.11, epoll.
    #[arg(long, value_name = "LEVEL", default_value = "auto")]
    pub io_backend: String,
    /// Process (the proxy) whose CPU time per request to report.
    #[arg(long, value_name = "PID")]
    pub watch: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Write a plot of latency by percentile: an .svg, or an .html page with the table.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// No progress bar.
    #[arg(short, long)]
    pub quiet: bool,
}

/// `ringway-perf compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Each round starts every peer afresh with one worker pinned to --proxy-core; generator and upstream
share --load-core. Peers take turns within each scenario, so that a busy machine hurts all alike.
A peer that is not installed is left out, and the report says so.

Scenarios of suite http1:
  s64      64 connections, 100 B          s1024    1 024 connections, 100 B
  m64      64 connections, 10 KB          l16      16 connections, 1 MB
  s1       1 connection, 100 B            rate     10 000 requests/s, 64 connections
  half     half of Envoy's s64 rate       idle     memory: process and idle connections
  routes   10 000 prefix routes           wrk      s64, s1024, m64 by wrk

Scenarios of suite protocols (h2, h2h2, grpc, tls, tcp, ws, idle stand for all of theirs):
  h2-4x64 -64x1     HTTP/2 → HTTP/1.1, connections × streams
  h2h2-4x64 -64x1   HTTP/2 → HTTP/2    grpc-unary -unary-4x64 -stream   100 B messages
  tls-64      TLS 1.3, keep-alive          tls-full      a P-256 handshake for each request
  tls-1m      TLS 1.3, 1 MB bodies         tls-resumed   the same, resumed
  new         a connection per request     tls-full-rsa  an RSA-2048 handshake per request
  plain-1m    1 MB bodies                  tcp-1 -16 -64 64 KB there and back
  ws-64 -16k  WebSocket messages           idle-tcp -h1 -h2 -tls   memory of idle connections
  storm       live connections while more TLS connections come than the proxy can take
  h2load      h2 and h2h2 by h2load

Scenarios of suite xds (ringway and Envoy, two workers on one core, one control plane):
  start     5 000 EDS clusters over ADS: time, CPU, memory    resend    all of them again, unchanged
  move      EDS update to the first request there             updates   p99 of traffic meanwhile
  stats     /stats/prometheus and /ready                      routes    10 000 prefix routes
  listener  failed requests when a listener changes           restart   … when a process takes over

Examples:
  ringway-perf compare
  ringway-perf compare --suite protocols --rounds 3
  ringway-perf compare --suite protocols --only h2,tls-64,tcp --out /tmp/report
  ringway-perf compare --suite xds --only start,move --clusters 1000 --out /tmp/report
  ringway-perf compare --only s64,rate --peers ringway,envoy --rounds 2 --out /tmp/report
  ringway-perf compare --only idle --idle-connections 2000
  ringway-perf compare --render perf/report/raw.json --out perf/report

Exit codes: 0 report written; 1 could not run; 2 wrong arguments; 3 a target missed with --check")]
pub struct CompareArgs {
    /// Family of scenarios; each has its report.
    #[arg(long, value_name = "NAME", default_value = "http1")]
    pub suite: Suite,
    /// Scenarios to run, all when not given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Peers to run.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "ringway,envoy,haproxy,nginx"
    )]
    pub peers: Vec<String>,
    /// Rounds; the report has medians and ranges over them. 4, in suite protocols 3, in xds 2.
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Time measured per run. 2s, in suite protocols 1500ms; in xds all times follow from it.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub duration: Option<Duration>,
    /// Time of the same load before measuring. 500ms, in suite protocols 300ms.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub warmup: Option<Duration>,
    /// The ringway binary; target/release/ringway or target/quick/ringway when not given.
    #[arg(long, value_name = "FILE")]
    pub ringway: Option<PathBuf>,
    /// The Envoy binary; the one in the cache folder, or in PATH, when not given.
    #[arg(long, value_name = "FILE", env = "RINGWAY_ENVOY")]
    pub envoy: Option<PathBuf>,
    /// Core of the proxy.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub proxy_core: usize,
    /// Core of generator and upstream.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub load_core: usize,
    /// Further flags for ringway, such as "--io-backend epoll".
    #[arg(long, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub ringway_flags: String,
    /// Idle connections of the memory scenario; fewer where open files are limited.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub idle_connections: usize,
    /// Rounds that measure memory. All, in suite protocols 1.
    #[arg(long, value_name = "N")]
    pub idle_rounds: Option<usize>,
    /// Routes of the routes scenario.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub routes: usize,
    /// EDS clusters of suite xds.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub clusters: usize,
    /// Rate of scenario half, instead of half of what Envoy reaches.
    #[arg(long, value_name = "R", value_parser = positive)]
    pub half_rate: Option<f64>,
    /// Folder for README.md, plots and raw.json; perf/report when not given, or a folder in it
    /// that is named as the suite.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Run nothing: write the report anew from this raw.json.
    #[arg(long, value_name = "FILE")]
    pub render: Option<PathBuf>,
    /// Exit with 3 when ringway misses a target.
    #[arg(long)]
    pub check: bool,
    /// No progress bar.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What is taken when nothing is given. All of suite protocols runs in about ten minutes, all of
/// suite xds in less than five.
impl CompareArgs {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or_else(|| self.by_suite(4, 3, 2))
    }

    pub(crate) fn duration(&self) -> Duration {
        self.duration.unwrap_or_else(|| Duration::from_millis(self.by_suite(2000, 1500, 2000)))
    }

    pub(crate) fn warmup(&self) -> Duration {
        self.warmup.unwrap_or_else(|| Duration::from_millis(self.by_suite(500, 300, 300)))
    }

    pub(crate) fn idle_rounds(&self) -> usize {
        self.idle_rounds.unwrap_or_else(|| self.by_suite(self.rounds(), 1, 1))
    }

    pub(crate) fn out(&self) -> PathBuf {
        let by_suite =
            || self.by_suite("perf/report", "perf/report/protocols", "perf/report/xds").into();
        self.out.clone().unwrap_or_else(by_suite)
    }

    /// What times of suite xds are multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        self.duration().as_secs_f64() / 2.0
    }

    fn by_suite<T>(&self, http1: T, protocols: T, xds: T) -> T {
        match self.suite {
            Suite::Http1 => http1,
            Suite::Protocols => protocols,
            Suite::Xds => xds,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 && rate <= 1e7 => Ok(rate),
        _ => Err("expected a number above 0 and at most 10000000".to_owned()),
    }
}
