//! The lines of a case: what clients do, and how the case is compared.

use super::actions::{self, error_code, grpc_frame};
use super::{Case, ClientKind, H2Step, Read, Step, options};
use crate::diff::text::{self, Word};
use crate::h2::Line;
use anyhow::{Context, Result, bail, ensure};

/// Words after a connection's name, or at the beginning of a line about connection `c`.
const VERBS: [&str; 23] = [
    "connect", "state", "fin", "reset", "close", "req", "get", "head", "post", "put", "delete",
    "options", "grpc", "open", "data", "trailers", "rst", "read", "goaway", "ping", "settings",
    "window", "frame",
];

/// What stands after the method in a request.
#[derive(Default)]
struct Request {
    host: String,
    lines: Vec<Line>,
    body: Option<Vec<u8>>,
    trailers: Vec<Line>,
    status: u16,
    more: bool,
}

impl Case {
    pub(super) fn line(&mut self, line: &str) -> Result<()> {
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
            let (how, status) = read(&words[1..])?;
            self.steps.push(Step::Read(or_default(conn), how, status));
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
        let script = actions::parse(&words[1..])?;
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
        let (conn, verb, rest) = if VERBS.contains(&first.as_str()) {
            ("c".to_owned(), first, &words[1..])
        } else {
            let verb = words.get(1).map(Word::text).unwrap_or_default();
            ensure!(VERBS.contains(&verb.as_str()), "neither a verb nor a connection with a verb");
            (first, verb, &words[2..])
        };
        match verb.as_str() {
            "connect" => self.connect(conn, rest)?,
            "state" => self.steps.push(Step::State(conn)),
            "fin" => self.steps.push(Step::Fin(conn)),
            "reset" => self.steps.push(Step::Reset(conn)),
            "close" => self.steps.push(Step::Close(conn)),
            "req" => {
                let method = rest.first().context("req METHOD PATH")?.text();
                self.request(conn, &method, &rest[1..])?;
            }
            "get" | "head" | "post" | "put" | "delete" | "options" => {
                self.request(conn, &verb.to_ascii_uppercase(), rest)?;
            }
            "grpc" => self.grpc(conn, rest)?,
            "open" => {
                let [label, method, rest @ ..] = rest else { bail!("open LABEL METHOD PATH …") };
                let (path, request) = request(rest)?;
                self.open(conn, label.text(), &method.text(), &path, request);
            }
            other => {
                let step = h2_step(other, rest)?;
                self.steps.push(Step::H2(conn, step));
            }
        }
        Ok(())
    }

    /// `connect LISTENER …`; without more, as `client:` says.
    fn connect(&mut self, conn: String, words: &[Word]) -> Result<()> {
        let target = words.first().context("connect to which listener?")?.text();
        let kind = match &words[1..] {
            [] => self.client.clone(),
            [plain] if plain.text() == "plain" => ClientKind::default(),
            words => options::client(words)?,
        };
        self.kinds.insert(conn.clone(), kind.clone());
        self.steps.push(Step::Connect(conn, target, kind));
        Ok(())
    }

    fn kind(&self, conn: &str) -> &ClientKind {
        self.kinds.get(conn).unwrap_or(&self.client)
    }

    /// `PATH [@HOST] ["h: v" …] [= "body"] [trailers "h: v" …] [-> STATUS]`: sends a request, reads
    /// the response.
    fn request(&mut self, conn: String, method: &str, words: &[Word]) -> Result<()> {
        let (path, request) = request(words)?;
        let status = request.status;
        if self.kind(&conn).h2 {
            self.open(conn.clone(), String::new(), method, &path, request);
            let read = H2Step::Read(String::new(), Read::Message, status);
            self.steps.push(Step::H2(conn, read));
            return Ok(());
        }
        ensure!(request.trailers.is_empty(), "trailers of HTTP/1: write the bytes");
        let mut bytes =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", request.host).into_bytes();
        for (name, value) in &request.lines {
            bytes.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
        }
        if let Some(body) = &request.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(request.body.unwrap_or_default());
        self.send(&conn, bytes);
        let how = if method == "HEAD" { Read::HeadOnly } else { Read::Message };
        self.steps.push(Step::Read(conn, how, status));
        Ok(())
    }

    /// `grpc PATH … = "message"`: a unary call.
    fn grpc(&mut self, conn: String, words: &[Word]) -> Result<()> {
        ensure!(self.kind(&conn).h2, "gRPC needs an HTTP/2 connection");
        let (path, mut request) = request(words)?;
        let own = [("te", "trailers"), ("content-type", "application/grpc")];
        for (name, value) in own {
            request.lines.insert(0, (name.into(), value.into()));
        }
        request.body = Some(grpc_frame(&request.body.unwrap_or_default()));
        let status = request.status;
        self.open(conn.clone(), String::new(), "POST", &path, request);
        self.steps.push(Step::H2(conn, H2Step::Read(String::new(), Read::Message, status)));
        Ok(())
    }

    /// A request on a stream of its own.
    fn open(&mut self, conn: String, label: String, method: &str, path: &str, request: Request) {
        let scheme = if self.kind(&conn).tls.is_some() { "https" } else { "http" };
        let mut pseudo: Vec<Line> = vec![
            (b":method".to_vec(), method.into()),
            (b":scheme".to_vec(), scheme.into()),
            (b":authority".to_vec(), request.host.into_bytes()),
            (b":path".to_vec(), path.into()),
        ];
        let mut lines = Vec::new();
        for (name, value) in request.lines {
            if let Some(name) = name.strip_prefix(b"-") {
                pseudo.retain(|(n, _)| n != name);
            } else if let Some(own) = pseudo.iter_mut().find(|(n, _)| *n == name) {
                own.1 = value;
            } else if name.starts_with(b":") {
                pseudo.push((name, value));
            } else {
                lines.push((name, value));
            }
        }
        pseudo.append(&mut lines);
        let (body, trailers, end) = (request.body, request.trailers, !request.more);
        let open = H2Step::Open { label, lines: pseudo, body, trailers, end };
        self.steps.push(Step::H2(conn, open));
    }
}

fn or_default(conn: &str) -> String {
    if conn.is_empty() { "c".to_owned() } else { conn.to_owned() }
}

/// A header line in quotes; the name may begin with a colon. `-:NAME` leaves a pseudo header out.
fn header(word: &Word) -> Line {
    let bytes = word.bytes();
    if bytes.starts_with(b"-:") {
        return (bytes, vec![]);
    }
    let colon = bytes.iter().skip(1).position(|b| *b == b':').map_or(bytes.len(), |at| at + 1);
    let (name, value) = bytes.split_at(colon);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name.to_vec(), value.strip_prefix(b" ").unwrap_or(value).to_vec())
}

fn request(words: &[Word]) -> Result<(String, Request)> {
    let path = words.first().context("which path?")?.text();
    let mut request = Request { host: "test.example".to_owned(), ..Request::default() };
    let mut in_trailers = false;
    let mut rest = words[1..].iter();
    while let Some(word) = rest.next() {
        match word {
            Word::Bare(w) if w.starts_with('@') => w[1..].clone_into(&mut request.host),
            Word::Bare(w) if w == "=" => request.body = rest.next().map(Word::bytes),
            Word::Bare(w) if w == "->" => {
                request.status = rest.next().context("-> which status?")?.number()? as u16;
            }
            Word::Bare(w) if w == "trailers" => in_trailers = true,
            Word::Bare(w) if w == "more" => request.more = true,
            Word::Bare(w) => bail!("unexpected {w}: quote header lines"),
            Word::Quoted(_) if in_trailers => request.trailers.push(header(word)),
            Word::Quoted(_) => request.lines.push(header(word)),
        }
    }
    Ok((path, request))
}

fn h2_step(verb: &str, words: &[Word]) -> Result<H2Step> {
    let label = || words.first().map(Word::text).context("which stream?");
    let second = || words.get(1).context("an argument is missing");
    let number = |word: &Word| word.number().map(|n| n as u32);
    Ok(match verb {
        "data" => {
            let end = words.get(2).is_some_and(|word| word.text() == "end");
            H2Step::Data(label()?, second()?.bytes(), end)
        }
        "trailers" => H2Step::Trailers(label()?, words[1..].iter().map(header).collect()),
        "rst" => H2Step::Rst(label()?, error_code(second()?)?),
        "read" => {
            let (how, status) = read(&words[1..])?;
            H2Step::Read(label()?, how, status)
        }
        "goaway" => H2Step::Goaway(words.first().map_or(Ok(0), error_code)?),
        "ping" => H2Step::Ping,
        "settings" => {
            let pair = |word: &Word| {
                let text = word.text();
                let (key, value) = text.split_once('=').context("expected set:NAME=VALUE")?;
                options::setting(key, value)
            };
            H2Step::Settings(words.iter().map(pair).collect::<Result<_>>()?)
        }
        "window" => H2Step::Window(label()?, number(second()?)?),
        "frame" => {
            let [kind, flags, stream, payload @ ..] = words else {
                bail!("frame TYPE FLAGS STREAM \"payload\"");
            };
            let payload = payload.first().map(Word::bytes).unwrap_or_default();
            H2Step::Frame(kind.number()? as u8, flags.number()? as u8, stream.text(), payload)
        }
        other => bail!("unknown verb {other}"),
    })
}

/// `[head|raw|bytes N|none DURATION] [[->] STATUS]`.
fn read(words: &[Word]) -> Result<(Read, u16)> {
    let mut how = Read::Message;
    let mut status = 0;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.text().as_str() {
            "head" => how = Read::HeadOnly,
            "raw" => how = Read::Raw,
            "bytes" => how = Read::Bytes(rest.next().context("how many bytes?")?.number()?),
            "none" => how = Read::Nothing(rest.next().context("none for how long?")?.duration()?),
            "->" => {}
            _ => status = word.number()? as u16,
        }
    }
    Ok((how, status))
}
