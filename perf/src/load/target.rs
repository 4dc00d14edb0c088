//! Where requests go and what they are.

use crate::cli::LoadArgs;
use anyhow::{Context, Result, bail, ensure};
use ringway_runtime::SockAddr;
use ringway_wire::http1::{HeaderKeyFormat, encode_request_head, request_framing};
use ringway_wire::{KnownName, Method, RequestHead};
use std::net::ToSocketAddrs;

/// Largest body that is sent.
const BODY_MAX: u64 = 256 << 20;

/// An address and the request to send there.
#[derive(Clone, Debug)]
pub struct Target {
    /// As given.
    pub url: String,
    /// Where to connect.
    pub addr: SockAddr,
    /// Decides how an answer is read.
    pub method: Method,
    /// Head and body of the request, ready to send.
    pub request: Vec<u8>,
}

impl Target {
    /// A GET without further headers.
    ///
    /// # Errors
    /// As [`Target::new`].
    pub fn get(url: &str, keep_alive: bool) -> Result<Self> {
        let (authority, path) = split(url)?;
        let headers: &[(&str, &str)] = if keep_alive { &[] } else { &[("connection", "close")] };
        Ok(Self {
            url: url.to_owned(),
            addr: resolve(authority)?,
            method: Method::Get,
            request: request(Method::Get, authority, path, headers, 0)?,
        })
    }

    /// From the command line.
    ///
    /// # Errors
    /// The URL is not `http://…`, its host has no address, a header line or the method is
    /// malformed, or the body is too large.
    pub fn new(args: &LoadArgs) -> Result<Self> {
        let (authority, path) = split(&args.url)?;
        let addr = match &args.unix {
            Some(path) => SockAddr::unix(path),
            None => resolve(authority)?,
        };
        let method = match &args.method {
            Some(name) => Method::from_bytes(name.as_bytes())
                .with_context(|| format!("--method {name:?}: no HTTP method"))?,
            None if args.body > 0 => Method::Post,
            None => Method::Get,
        };
        ensure!(method != Method::Connect, "--method CONNECT: tunnels carry no requests");
        let mut headers = Vec::new();
        for line in &args.headers {
            let Some((name, value)) = line.split_once(':') else {
                bail!("--header {line:?}: write \"name: value\"");
            };
            headers.push((name.trim(), value.trim()));
        }
        if args.no_keepalive {
            headers.push(("connection", "close"));
        }
        let request = request(method, authority, path, &headers, args.body)?;
        Ok(Self { url: args.url.clone(), addr, method, request })
    }
}

fn split(url: &str) -> Result<(&str, &str)> {
    let Some(rest) = url.strip_prefix("http://") else {
        bail!("{url:?}: expected http://HOST:PORT/PATH (TLS is not supported)");
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    ensure!(!authority.is_empty(), "{url:?}: the host is missing");
    match path {
        "" => Ok((authority, "/")),
        path if path.starts_with('/') => Ok((authority, path)),
        _ => bail!("{url:?}: a path is needed before the query"),
    }
}

fn resolve(authority: &str) -> Result<SockAddr> {
    let port_missing = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']'));
    let full = if port_missing { format!("{authority}:80") } else { authority.to_owned() };
    let mut found = full.to_socket_addrs().with_context(|| format!("looking up {full}"))?;
    Ok(found.next().with_context(|| format!("{full} has no address"))?.into())
}

fn request(
    method: Method,
    authority: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: u64,
) -> Result<Vec<u8>> {
    ensure!(body <= BODY_MAX, "--body {body}: at most {BODY_MAX} bytes");
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
