//! Where requests go and what they are.

use super::echo::masked_frame;
use super::tls::Tls;
use crate::cli::LoadArgs;
use anyhow::{Context, Result, bail, ensure};
use ringway_runtime::SockAddr;
use ringway_wire::http1::{HeaderKeyFormat, encode_request_head, request_framing};
use ringway_wire::{KnownName, Method, RequestHead, Scheme as HttpScheme};
use std::net::ToSocketAddrs;

/// Largest body that is sent.
const BODY_MAX: u64 = 256 << 20;
/// Most streams on a connection.
const STREAMS_MAX: usize = 10_000;
/// Size of a message where none is given.
const MESSAGE: u64 = 100;

/// An address and what to send there.
#[derive(Clone, Debug)]
pub struct Target {
    /// As given.
    pub url: String,
    /// Where to connect.
    pub addr: SockAddr,
    /// With TLS: what is offered.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Decides how an answer is read.
    pub method: Method,
    /// Head and body of the request, ready to send; a frame for WebSocket, the body for HTTP/2.
    pub request: Vec<u8>,
}

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, and gRPC over it.
    Http2(Box<Http2Target>),
    /// Bytes to a server that sends them back.
    Tcp,
    /// WebSocket messages to a server that sends them back.
    WebSocket {
        /// The request for the upgrade.
        opening: Vec<u8>,
    },
}

/// What HTTP/2 needs to know.
#[derive(Clone, Debug)]
pub struct Http2Target {
    /// Exchanges at once on each connection.
    pub streams: usize,
    /// The head of each request.
    pub head: RequestHead,
    /// Whether success is `grpc-status: 0` and a message that comes back.
    pub grpc: bool,
    /// Whether messages go to and fro on streams that stay open.
    pub streaming: bool,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// A scheme of [`Scheme::ALL`], `://HOST:PORT` and, but for `tcp` and `tls`, a path.
    pub url: &'a str,
    /// GET, or POST with a body, when not given.
    pub method: Option<&'a str>,
    /// Further headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Bytes of the body, or of a message.
    pub body: u64,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// Whether TLS sessions are resumed.
    pub resume: bool,
    /// HTTP/2: exchanges at once on each connection.
    pub streams: usize,
    /// gRPC: messages to and fro on streams that stay open, instead of unary calls.
    pub streaming: bool,
}

impl<'a> Wish<'a> {
    /// A GET without further headers on connections that stay.
    #[must_use]
    pub const fn get(url: &'a str) -> Self {
        Self {
            url,
            method: None,
            headers: Vec::new(),
            body: 0,
            keep_alive: true,
            resume: false,
            streams: 1,
            streaming: false,
        }
    }
}

impl Target {
    /// A GET without further headers.
    ///
    /// # Errors
    /// As [`Target::wish`].
    pub fn get(url: &str, keep_alive: bool) -> Result<Self> {
        Self::wish(&Wish { keep_alive, ..Wish::get(url) })
    }

    /// From the command line.
    ///
    /// # Errors
    /// As [`Target::wish`]; a header line without a colon.
    pub fn new(args: &LoadArgs) -> Result<Self> {
        let mut headers = Vec::new();
        for line in &args.headers {
            let Some((name, value)) = line.split_once(':') else {
                bail!("--header {line:?}: write \"name: value\"");
            };
            headers.push((name.trim(), value.trim()));
        }
        let mut target = Self::wish(&Wish {
            method: args.method.as_deref(),
            headers,
            body: args.body,
            keep_alive: !args.no_keepalive,
            resume: args.resume,
            streams: args.streams,
            streaming: args.streaming,
            ..Wish::get(&args.url)
        })?;
        if let Some(path) = &args.unix {
            target.addr = SockAddr::unix(path);
        }
        Ok(target)
    }

    /// Makes the request.
    ///
    /// # Errors
    /// The URL is none of those in [`Wish::url`], its host has no address, a header or the method
    /// is malformed, or the body is too large.
    pub fn wish(wish: &Wish<'_>) -> Result<Self> {
        let url = Url::new(wish.url)?;
        let Url { scheme, authority, path } = url;
        ensure!(wish.body <= BODY_MAX, "--body {}: at most {BODY_MAX} bytes", wish.body);
        ensure!((1..=STREAMS_MAX).contains(&wish.streams), "--streams: 1 to {STREAMS_MAX}");
        ensure!(wish.streams == 1 || scheme.is_http2(), "--streams needs h2c, h2, grpc or grpcs");
        ensure!(!wish.streaming || scheme.is_grpc(), "--streaming needs grpc or grpcs");
        ensure!(wish.keep_alive || !scheme.is_http2(), "--no-keepalive is for HTTP/1.1");
        let message = || vec![b'x'; if wish.body == 0 { MESSAGE } else { wish.body } as usize];
        let mut method = Method::Get;
        let (protocol, request) = match scheme {
            Scheme::Http | Scheme::Https => {
                method = method_of(wish)?;
                (Protocol::Http1, http1(wish, method, authority, path)?)
            }
            Scheme::Ws | Scheme::Wss => {
                let opening = upgrade(wish, authority, path)?;
                (Protocol::WebSocket { opening }, masked_frame(&message()))
            }
            Scheme::Tcp | Scheme::Tls => (Protocol::Tcp, message()),
            Scheme::H2c | Scheme::H2 => {
                let body = vec![b'x'; wish.body as usize];
                (Protocol::Http2(Box::new(http2(wish, &url)?)), body)
            }
            Scheme::Grpc | Scheme::Grpcs => {
                // A frame of gRPC: not compressed, length, message.
                let message = message();
                let mut body = vec![0];
                body.extend_from_slice(&(message.len() as u32).to_be_bytes());
                body.extend_from_slice(&message);
                (Protocol::Http2(Box::new(http2(wish, &url)?)), body)
            }
        };
        let alpn: &[&[u8]] = if scheme.is_http2() { &[b"h2"] } else { &[] };
        let tls = scheme.is_tls().then(|| Tls::new(host(authority), alpn, wish.resume));
        let (addr, tls) = (resolve(authority, scheme)?, tls.transpose()?);
        Ok(Self { url: wish.url.to_owned(), addr, tls, protocol, method, request })
    }
}

/// What stands before `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// HTTP/2 over TLS, by ALPN.
    H2,
    /// gRPC without TLS.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Bytes.
    Tcp,
    /// Bytes over TLS.
    Tls,
}

impl Scheme {
    /// All of them, as people write them.
    pub const ALL: [(&'static str, Self); 10] = [
        ("http", Self::Http),
        ("https", Self::Https),
        ("h2c", Self::H2c),
        ("h2", Self::H2),
        ("grpc", Self::Grpc),
        ("grpcs", Self::Grpcs),
        ("ws", Self::Ws),
        ("wss", Self::Wss),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
    ];

    const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2 | Self::Grpcs | Self::Wss | Self::Tls)
    }

    const fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::H2) || self.is_grpc()
    }

    const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

/// A URL in parts.
#[derive(Clone, Copy)]
struct Url<'a> {
    scheme: Scheme,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn new(url: &'a str) -> Result<Self> {
        let (name, rest) = url.split_once("://").unwrap_or(("", url));
        let scheme = Scheme::ALL.into_iter().find(|(known, _)| *known == name);
        let Some((_, scheme)) = scheme else {
            let all = Scheme::ALL.map(|(name, _)| name).join(", ");
            bail!("{url:?}: expected SCHEME://HOST:PORT/PATH; schemes are {all}");
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        ensure!(!authority.is_empty(), "{url:?}: the host is missing");
        let path = match path {
            "" => "/",
            path if path.starts_with('/') => path,
            _ => bail!("{url:?}: a path is needed before the query"),
        };
        Ok(Self { scheme, authority, path })
    }
}

/// Without the port.
fn host(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

fn resolve(authority: &str, scheme: Scheme) -> Result<SockAddr> {
    let port_missing = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']'));
    let full = match scheme {
        _ if !port_missing => authority.to_owned(),
        Scheme::Tcp | Scheme::Tls => bail!("{authority:?}: the port is missing"),
        _ if scheme.is_tls() => format!("{authority}:443"),
        _ => format!("{authority}:80"),
    };
    let mut found = full.to_socket_addrs().with_context(|| format!("looking up {full}"))?;
    Ok(found.next().with_context(|| format!("{full} has no address"))?.into())
}

fn method_of(wish: &Wish<'_>) -> Result<Method> {
    let method = match wish.method {
        Some(name) => Method::from_bytes(name.as_bytes())
            .with_context(|| format!("--method {name:?}: no HTTP method"))?,
        None if wish.body > 0 => Method::Post,
        None => Method::Get,
    };
    ensure!(method != Method::Connect, "--method CONNECT: tunnels carry no requests");
    Ok(method)
}

fn http1(wish: &Wish<'_>, method: Method, authority: &str, path: &str) -> Result<Vec<u8>> {
    let mut headers = wish.headers.clone();
    if !wish.keep_alive {
        headers.push(("connection", "close"));
    }
    encode(method, authority, path, &headers, wish.body)
}

fn http2(wish: &Wish<'_>, url: &Url<'_>) -> Result<Http2Target> {
    let grpc = url.scheme.is_grpc();
    let method = if grpc { Method::Post } else { method_of(wish)? };
    let mut headers = wish.headers.clone();
    let length = wish.body.to_string();
    if grpc {
        headers.extend([("content-type", "application/grpc"), ("te", "trailers")]);
    } else if wish.body > 0 {
        headers.push(("content-length", &length));
    }
    // The rules for names and values are those of HTTP/1.1.
    encode(method, url.authority, url.path, &wish.headers, 0)?;
    let mut head = RequestHead { method, ..RequestHead::default() };
    head.scheme = Some(if url.scheme.is_tls() { HttpScheme::Https } else { HttpScheme::Http });
    head.path.extend_from_slice(url.path.as_bytes());
    head.authority.extend_from_slice(url.authority.as_bytes());
    for (name, value) in headers {
        let (name, value) = (name.to_ascii_lowercase(), value.as_bytes());
        ensure!(head.headers.append(name.as_bytes(), value), "--header {name:?}: too long");
    }
    Ok(Http2Target { streams: wish.streams, head, grpc, streaming: wish.streaming })
}

fn upgrade(wish: &Wish<'_>, authority: &str, path: &str) -> Result<Vec<u8>> {
    let mut headers = wish.headers.clone();
    headers.extend([
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        // Any 16 bytes will do: what must not be guessed here is of no use to anybody.
        ("sec-websocket-key", "cmluZ3dheS1wZXJmLXdzIQ=="),
    ]);
    encode(Method::Get, authority, path, &headers, 0)
}

fn encode(
    method: Method,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: u64,
) -> Result<Vec<u8>> {
    let mut head = RequestHead { method, ..RequestHead::default() };
    head.path.extend_from_slice(path.as_bytes());
    head.authority.extend_from_slice(authority.as_bytes());
    for (name, value) in headers {
        ensure!(
            head.headers.append(name.to_ascii_lowercase().as_bytes(), value.as_bytes()),
            "--header {name:?}: too long"
        );
    }
    if body > 0 {
        head.headers.append(KnownName::ContentLength, body.to_string().as_bytes());
    }
    let framing = request_framing(&head, body == 0, false);
    let mut bytes = Vec::new();
    encode_request_head(&head, framing, HeaderKeyFormat::LowerCase, &mut bytes);
    // What the server would refuse is refused here, with a reason.
    let (limits, options) = Default::default();
    let options = ringway_wire::http1::ParseOptions { allow_custom_methods: true, ..options };
    let mut check = RequestHead::default();
    match ringway_wire::http1::parse_request(&bytes, &limits, &options, &mut check) {
        Ok(Some(_)) => {}
        Ok(None) => bail!("a header line holds a line break"),
        Err(err) => bail!("this would be no HTTP/1.1 request: {}", err.rule.text()),
    }
    bytes.resize(bytes.len() + body as usize, b'x');
    Ok(bytes)
}
