//! Where requests go and what they are.

use super::echo::masked_frame;
use super::tls::Tls;
use crate::cli::LoadArgs;
use anyhow::{Context, Result, bail, ensure};
use ringway_runtime::SockAddr;
use ringway_wire::http1::{HeaderKeyFormat, encode_request_head, request_framing};
use ringway_wire::{KnownName, Method, RequestHead};
use std::net::ToSocketAddrs;

/// Largest body that is sent.
const BODY_MAX: u64 = 256 << 20;
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
    /// Head and body of the request, ready to send; a frame for WebSocket.
    pub request: Vec<u8>,
}

/// What is spoken on a connection.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// Bytes to a server that sends them back.
    Tcp,
    /// WebSocket messages to a server that sends them back.
    WebSocket {
        /// The request for the upgrade.
        opening: Vec<u8>,
    },
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// `http`, `https`, `ws`, `wss`, `tcp` or `tls`, `://HOST:PORT` and, but for the last two, a
    /// path.
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
}

impl<'a> Wish<'a> {
    /// A GET without further headers on connections that stay.
    #[must_use]
    pub const fn get(url: &'a str) -> Self {
        let headers = Vec::new();
        Self { url, method: None, headers, body: 0, keep_alive: true, resume: false }
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
        let Url { scheme, authority, path } = Url::new(wish.url)?;
        ensure!(wish.body <= BODY_MAX, "--body {}: at most {BODY_MAX} bytes", wish.body);
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
        };
        let tls = match scheme {
            Scheme::Https | Scheme::Wss | Scheme::Tls => {
                Some(Tls::new(host(authority), &[], wish.resume)?)
            }
            _ => None,
        };
        let addr = resolve(authority, scheme)?;
        Ok(Self { url: wish.url.to_owned(), addr, tls, protocol, method, request })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
    Tcp,
    Tls,
}

/// A URL in parts.
struct Url<'a> {
    scheme: Scheme,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn new(url: &'a str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => bail!(
                "{url:?}: expected SCHEME://HOST:PORT/PATH; schemes are http, https, ws, wss, tcp \
                 and tls"
            ),
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
        Scheme::Http | Scheme::Ws => format!("{authority}:80"),
        Scheme::Https | Scheme::Wss => format!("{authority}:443"),
        Scheme::Tcp | Scheme::Tls => bail!("{authority:?}: the port is missing"),
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
