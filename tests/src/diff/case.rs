//! The language of `tests/e2e/cases/*.case`; `tests/e2e/README.md` describes it.

use super::text::{self, Word};
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// One `.case` file: what is said of the two proxies, then the cases they run one after another.
#[derive(Debug, Default)]
pub struct File {
    /// Standing answers of upstreams.
    pub rules: Vec<Rule>,
    /// Further command line of the proxies.
    pub args: Vec<String>,
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

/// What an upstream does with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Acts when the head is there, without waiting for the body.
    Early,
    /// Reads the body (after `early`).
    Body,
    /// A whole response with `content-length`.
    Reply(u16, Vec<u8>, Vec<String>),
    /// A chunked response: data of the chunks, header lines, trailer lines.
    Chunked(u16, Vec<Vec<u8>>, Vec<String>, Vec<String>),
    /// These bytes.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Sends FIN, goes on reading.
    Fin,
    /// Does nothing more on this connection until the proxy ends it.
    Hang,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens a connection to a listener.
    Connect(String, String),
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
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// One response.
    Message,
    /// One response to HEAD.
    HeadOnly,
    /// All bytes to the end of the connection or to 400 ms of silence.
    Raw,
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
        let reads = |case: &Case| {
            case.steps.iter().filter(|s| matches!(s, Step::Read(_, r, _) if !r.is_pause())).count()
        };
        self.cases.iter().map(reads).sum()
    }

    fn line(&mut self, line: &str, number: usize) -> Result<()> {
        if let Some(name) = line.strip_prefix("case ") {
            let name = name.trim().to_owned();
            self.cases.push(Case { name, line: number, ..Case::default() });
            return Ok(());
        }
        let Some(case) = self.cases.last_mut() else {
            return self.header_line(line);
        };
        case.line(line)
    }

    fn header_line(&mut self, line: &str) -> Result<()> {
        if let Some(args) = line.strip_prefix("args:") {
            self.args = args.split_whitespace().map(str::to_owned).collect();
            return Ok(());
        }
        let rest = line.strip_prefix("rule ").context("expected: case, rule or args:")?;
        let words = text::words(rest)?;
        let (upstream, path) = match words.as_slice() {
            [n, path, ..] => (n.number()?, path.text()),
            _ => bail!("expected: rule UPSTREAM PATH ACTIONS"),
        };
        self.rules.push(Rule { upstream, path, script: actions(&words[2..])? });
        Ok(())
    }
}

impl Read {
    fn is_pause(self) -> bool {
        matches!(self, Self::Nothing(_))
    }
}

impl Case {
    fn line(&mut self, line: &str) -> Result<()> {
        let head = line.split_whitespace().next().unwrap_or_default();
        if let Some(conn) = head.strip_suffix(">>") {
            let rest = line[head.len()..].strip_prefix(' ').unwrap_or_default();
            self.send(conn, text::unescape(rest)?);
            return Ok(());
        }
        if let Some(conn) = head.strip_suffix('>') {
            let rest = line[head.len()..].strip_prefix(' ').unwrap_or_default();
            let mut bytes = text::unescape(rest)?;
            bytes.extend_from_slice(b"\r\n");
            self.send(conn, bytes);
            return Ok(());
        }
        let words = text::words(line)?;
        if let Some(conn) = head.strip_suffix('<') {
            let step = read(or_default(conn), &words[1..])?;
            self.steps.push(step);
            return Ok(());
        }
        match head {
            "up" => self.script(&words[1..]),
            "stats" => {
                self.stats.extend(words[1..].iter().map(Word::text));
                Ok(())
            }
            "log" => self.log(&words[1..]),
            "opts:" => self.options(&words[1..]),
            "await" => self.wait_for(&words[1..]),
            "wait" => {
                self.steps.push(Step::Wait(words.get(1).context("wait how long?")?.duration()?));
                Ok(())
            }
            _ => self.client_verb(&words),
        }
    }

    fn send(&mut self, conn: &str, mut bytes: Vec<u8>) {
        let conn = or_default(conn);
        if let Some(Step::Send(last, sent)) = self.steps.last_mut()
            && *last == conn
        {
            sent.append(&mut bytes);
            return;
        }
        self.steps.push(Step::Send(conn, bytes));
    }

    /// `up N[*TIMES]: ACTIONS`.
    fn script(&mut self, words: &[Word]) -> Result<()> {
        let target = words.first().context("expected: up N: ACTIONS")?.text();
        let target = target.strip_suffix(':').context("expected: up N: ACTIONS")?;
        let (n, times) = target.split_once('*').unwrap_or((target, "1"));
        let script = actions(&words[1..])?;
        for _ in 0..times.parse()? {
            self.scripts.push((n.parse()?, script.clone()));
        }
        Ok(())
    }

    fn log(&mut self, words: &[Word]) -> Result<()> {
        let lines = words.first().context("expected: log LINES [FILE]")?.number()?;
        let file = words.get(1).map_or_else(|| "access.log".to_owned(), Word::text);
        self.logs.push((file, lines));
        Ok(())
    }

    fn options(&mut self, words: &[Word]) -> Result<()> {
        for word in words {
            match word.text().as_str() {
                "any-order" => self.opts.any_order = true,
                "sort-up" => self.opts.sort_up = true,
                "merge-up" => self.opts.merge_up = true,
                "may-refuse" => self.opts.may_refuse = true,
                other => {
                    bail!("unknown option {other} (any-order, sort-up, merge-up, may-refuse)")
                }
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, words: &[Word]) -> Result<()> {
        let [what, name, value] = words else {
            bail!("expected: await up N COUNT, or await stat NAME VALUE");
        };
        self.steps.push(match what.text().as_str() {
            "up" => Step::AwaitUpstream(name.number()?, value.number()?),
            "stat" => Step::AwaitStat(name.text(), value.text().parse()?),
            other => bail!("cannot await {other}"),
        });
        Ok(())
    }

    /// `[CONN] VERB …`.
    fn client_verb(&mut self, words: &[Word]) -> Result<()> {
        let first = words[0].text();
        let (conn, verb, rest) = if is_verb(&first) {
            ("c".to_owned(), first, &words[1..])
        } else {
            let verb = words.get(1).map(Word::text).unwrap_or_default();
            ensure!(is_verb(&verb), "neither a verb nor a connection with a verb");
            (first, verb, &words[2..])
        };
        match verb.as_str() {
            "connect" => {
                let target = rest.first().context("connect to which listener?")?.text();
                self.steps.push(Step::Connect(conn, target));
            }
            "state" => self.steps.push(Step::State(conn)),
            "fin" => self.steps.push(Step::Fin(conn)),
            "reset" => self.steps.push(Step::Reset(conn)),
            "close" => self.steps.push(Step::Close(conn)),
            "req" => {
                let method = rest.first().context("req METHOD PATH")?.text();
                self.request(conn, &method, &rest[1..])?;
            }
            method => self.request(conn, &method.to_ascii_uppercase(), rest)?,
        }
        Ok(())
    }

    /// `PATH [@HOST] ["h: v" …] [= "body"] [-> STATUS]`: sends a request, reads the response.
    fn request(&mut self, conn: String, method: &str, words: &[Word]) -> Result<()> {
        let path = words.first().context("which path?")?.text();
        let mut host = "test.example".to_owned();
        let mut lines = String::new();
        let mut body = None;
        let mut status = 0;
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            match word {
                Word::Bare(w) if w.starts_with('@') => host = w[1..].to_owned(),
                Word::Bare(w) if w == "=" => body = rest.next().map(Word::bytes),
                Word::Bare(w) if w == "->" => {
                    status = rest.next().context("-> which status?")?.number()? as u16;
                }
                Word::Bare(w) => bail!("unexpected {w}: quote header lines"),
                Word::Quoted(_) => lines.push_str(&format!("{}\r\n", word.text())),
            }
        }
        if let Some(body) = &body {
            lines.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body.unwrap_or_default());
        self.send(&conn, bytes);
        let how = if method == "HEAD" { Read::HeadOnly } else { Read::Message };
        self.steps.push(Step::Read(conn, how, status));
        Ok(())
    }
}

fn or_default(conn: &str) -> String {
    if conn.is_empty() { "c".to_owned() } else { conn.to_owned() }
}

fn is_verb(word: &str) -> bool {
    matches!(
        word,
        "connect"
            | "state"
            | "fin"
            | "reset"
            | "close"
            | "req"
            | "get"
            | "head"
            | "post"
            | "put"
            | "delete"
            | "options"
    )
}

/// `CONN< [head|raw|none DURATION] [STATUS]`.
fn read(conn: String, words: &[Word]) -> Result<Step> {
    let mut how = Read::Message;
    let mut status = 0;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.text().as_str() {
            "head" => how = Read::HeadOnly,
            "raw" => how = Read::Raw,
            "none" => how = Read::Nothing(rest.next().context("none for how long?")?.duration()?),
            _ => status = word.number()? as u16,
        }
    }
    Ok(Step::Read(conn, how, status))
}

/// Actions separated by `;`.
fn actions(words: &[Word]) -> Result<Vec<Action>> {
    words
        .split(|word| matches!(word, Word::Bare(w) if w == ";"))
        .filter(|part| !part.is_empty())
        .map(action)
        .collect()
}

fn action(words: &[Word]) -> Result<Action> {
    let rest = &words[1..];
    let argument = || rest.first().context("an argument is missing");
    Ok(match words[0].text().as_str() {
        "early" => Action::Early,
        "body" => Action::Body,
        "close" => Action::Close,
        "reset" => Action::Reset,
        "fin" => Action::Fin,
        "hang" => Action::Hang,
        "wait" => Action::Wait(argument()?.duration()?),
        "send" => Action::Send(argument()?.bytes()),
        "reply" => {
            let body = rest.get(1).map(Word::bytes).unwrap_or_default();
            let headers = rest.iter().skip(2).map(Word::text).collect();
            Action::Reply(argument()?.number()? as u16, body, headers)
        }
        "chunked" => chunked(argument()?.number()? as u16, &rest[1..])?,
        other => bail!("unknown action {other}"),
    })
}

/// `chunked STATUS "data" … [headers "h: v" …] [trailers "h: v" …]`.
fn chunked(status: u16, words: &[Word]) -> Result<Action> {
    let (mut data, mut headers, mut trailers) = (Vec::new(), Vec::new(), Vec::new());
    let mut part = 0;
    for word in words {
        match word {
            Word::Bare(w) if w == "headers" => part = 1,
            Word::Bare(w) if w == "trailers" => part = 2,
            Word::Bare(w) => bail!("unexpected {w}"),
            Word::Quoted(bytes) if part == 0 => data.push(bytes.clone()),
            Word::Quoted(_) if part == 1 => headers.push(word.text()),
            Word::Quoted(_) => trailers.push(word.text()),
        }
    }
    Ok(Action::Chunked(status, data, headers, trailers))
}
