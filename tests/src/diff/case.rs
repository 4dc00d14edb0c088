//! The language of `tests/e2e/cases/*.case`; `tests/e2e/README.md` describes it.

use super::text::{self, Word};
use crate::certs::Spec;
use crate::h2::Line;
use crate::tls::{ClientOptions, ServerOptions};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::time::Duration;

mod actions;
mod options;
#[cfg(test)]
mod tests;
mod verbs;

/// One `.case` file: what is said of the two proxies, then the cases they run one after another.
#[derive(Debug, Default)]
pub struct File {
    /// Standing answers of upstreams.
    pub rules: Vec<Rule>,
    /// Further command line of the proxies.
    pub args: Vec<String>,
    /// Certificates, in their order.
    pub certs: Vec<Spec>,
    /// What upstreams speak, by number; HTTP/1 or HTTP/2 without TLS when not named.
    pub upstreams: BTreeMap<usize, UpstreamOptions>,
    /// How clients connect when a case does not say.
    pub client: ClientKind,
    /// In the order written.
    pub cases: Vec<Case>,
}

/// `rule N PATH [once] ACTIONS`: requests for a path (health checks) that no case is about.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which upstream.
    pub upstream: usize,
    /// The request target it is for.
    pub path: String,
    /// What it does.
    pub script: Vec<Action>,
}

/// `upstream N …`: what a server speaks. HTTP/1 and HTTP/2 are told apart by the preface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// Bytes, not HTTP: a script is for a connection.
    pub raw: bool,
    /// A PROXY protocol header comes first.
    pub proxy: bool,
    /// Has TLS.
    pub tls: Option<ServerOptions>,
    /// SETTINGS it sends as an HTTP/2 server.
    pub settings: Vec<(u16, u32)>,
    /// Gives no HTTP/2 windows back.
    pub manual: bool,
}

/// `client: …` and what follows `connect LISTENER`: how a client connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientKind {
    /// Speaks HTTP/2 from the start.
    pub h2: bool,
    /// Has TLS.
    pub tls: Option<ClientOptions>,
    /// SETTINGS it sends as an HTTP/2 client.
    pub settings: Vec<(u16, u32)>,
    /// Gives no HTTP/2 windows back.
    pub manual: bool,
    /// Sent before everything else, TLS included.
    pub prefix: Vec<u8>,
}

/// One case.
#[derive(Debug, Default)]
pub struct Case {
    /// Its title.
    pub name: String,
    /// Line of the title.
    pub line: usize,
    /// What upstreams do with the next requests they get.
    pub scripts: Vec<(usize, Vec<Action>)>,
    /// What clients do.
    pub steps: Vec<Step>,
    /// Statistics whose change over the case is compared.
    pub stats: Vec<String>,
    /// Files of the proxy whose new lines are compared, with how many there are to be.
    pub logs: Vec<(String, usize)>,
    /// How to compare.
    pub opts: Opts,
    /// How clients connect when the case does not say.
    pub client: ClientKind,
    /// How the connections it opens by name do.
    kinds: BTreeMap<String, ClientKind>,
}

/// `opts:` of a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opts {
    /// Header order is not compared.
    pub any_order: bool,
    /// The order in which an upstream saw requests is not compared.
    pub sort_up: bool,
    /// Which upstream saw a request is not compared.
    pub merge_up: bool,
    /// Envoy is lax here: refusing is as good.
    pub may_refuse: bool,
}

/// What an upstream does with one request, or one raw connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Acts when the head is there, without waiting for the body.
    Early,
    /// Reads the body (after `early`).
    Body,
    /// A whole response with `content-length`.
    Reply(u16, Vec<u8>, Vec<String>),
    /// A response in parts: data of the chunks, header lines, trailer lines.
    Chunked(u16, Vec<Vec<u8>>, Vec<String>, Vec<String>),
    /// These bytes; on HTTP/2 data.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Sends FIN, goes on reading.
    Fin,
    /// Does nothing more until the proxy ends the connection or resets the stream.
    Hang,
    /// A head with these lines: interim below 200, otherwise without an end.
    Head(u16, Vec<String>),
    /// Reads so many bytes and notes them.
    Recv(usize),
    /// Reads to the end of the connection or the request and notes it.
    RecvAll,
    /// Sends back what comes, to the end.
    Echo,
    /// HTTP/2: trailers, which end the stream.
    Trailers(Vec<String>),
    /// HTTP/2: ends the stream.
    End,
    /// HTTP/2: resets the stream with a code.
    Rst(u32),
    /// HTTP/2: GOAWAY with last stream and code.
    Goaway(u32, u32),
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens a connection to a listener.
    Connect(String, String, ClientKind),
    /// Sends bytes at once.
    Send(String, Vec<u8>),
    /// Reads; the status is what the oracle has to answer, 0 for any.
    Read(String, Read, u16),
    /// Notes whether the connection is open, closed or reset.
    State(String),
    /// Half-closes.
    Fin(String),
    /// Resets.
    Reset(String),
    /// Closes.
    Close(String),
    /// Waits.
    Wait(Duration),
    /// Waits until an upstream has seen so many requests in this case.
    AwaitUpstream(usize, usize),
    /// Waits until a statistic has a value.
    AwaitStat(String, i64),
    /// Does something on an HTTP/2 connection.
    H2(String, H2Step),
}

/// What a client does on an HTTP/2 connection. Streams have labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum H2Step {
    /// Sends a request; `end` when it is whole.
    Open {
        /// Name of the stream.
        label: String,
        /// Header lines, pseudo headers first.
        lines: Vec<Line>,
        /// Data.
        body: Option<Vec<u8>>,
        /// Trailers.
        trailers: Vec<Line>,
        /// Whether the request ends here.
        end: bool,
    },
    /// Sends data; whether it ends the stream.
    Data(String, Vec<u8>, bool),
    /// Sends trailers.
    Trailers(String, Vec<Line>),
    /// Resets a stream.
    Rst(String, u32),
    /// Reads from a stream; the status is what the oracle has to answer, 0 for any.
    Read(String, Read, u16),
    /// Sends GOAWAY.
    Goaway(u32),
    /// Sends PING and waits for its acknowledgement.
    Ping,
    /// Sends SETTINGS.
    Settings(Vec<(u16, u32)>),
    /// Gives back so much of a window; `0` is the connection.
    Window(String, u32),
    /// Sends a frame as it is: type, flags, stream (a label or a number), payload.
    Frame(u8, u8, String, Vec<u8>),
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// One response; on HTTP/2 to the end of the stream.
    Message,
    /// One response to HEAD; on HTTP/2 all heads to the final one.
    HeadOnly,
    /// All bytes to the end of the connection or to 400 ms of silence.
    Raw,
    /// So many bytes.
    Bytes(usize),
    /// Notes whether anything comes within the time.
    Nothing(Duration),
}

impl File {
    /// Parses a file.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn parse(source: &str) -> Result<Self> {
        let mut file = Self::default();
        for (at, line) in source.lines().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            file.line(trimmed, at + 1).with_context(|| format!("line {}: {trimmed}", at + 1))?;
        }
        ensure!(!file.cases.is_empty(), "no case in the file");
        Ok(file)
    }

    /// How many responses the clients of all cases read.
    #[must_use]
    pub fn requests(&self) -> usize {
        let is_read = |step: &&Step| match step {
            Step::Read(_, read, _) | Step::H2(_, H2Step::Read(_, read, _)) => !read.is_pause(),
            _ => false,
        };
        self.cases.iter().map(|case| case.steps.iter().filter(is_read).count()).sum()
    }

    fn line(&mut self, line: &str, number: usize) -> Result<()> {
        if let Some(name) = line.strip_prefix("case ") {
            let name = name.trim().to_owned();
            let client = self.client.clone();
            self.cases.push(Case { name, line: number, client, ..Case::default() });
            return Ok(());
        }
        match self.cases.last_mut() {
            Some(case) => case.line(line),
            None => self.header_line(line),
        }
    }

    fn header_line(&mut self, line: &str) -> Result<()> {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words = text::words(rest)?;
        match head {
            "args:" => self.args = words.iter().map(Word::text).collect(),
            "client:" => self.client = options::client(&words)?,
            "cert" => {
                let words: Vec<String> = words.iter().map(Word::text).collect();
                self.certs.push(Spec::parse(&words)?);
            }
            "upstream" => {
                let n = words.first().context("expected: upstream N …")?.number()?;
                self.upstreams.insert(n, options::upstream(&words[1..])?);
            }
            "rule" => {
                let [n, path, rest @ ..] = words.as_slice() else {
                    bail!("expected: rule UPSTREAM PATH ACTIONS");
                };
                let script = actions::parse(rest)?;
                self.rules.push(Rule { upstream: n.number()?, path: path.text(), script });
            }
            _ => bail!("expected: case, rule, args:, client:, cert or upstream"),
        }
        Ok(())
    }
}

impl Read {
    fn is_pause(self) -> bool {
        matches!(self, Self::Nothing(_))
    }
}
