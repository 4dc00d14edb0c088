//! One side of a comparison: a proxy with upstreams of its own.

use super::case::{Case, File};
use super::client::Clients;
use super::normal::Names;
use super::report::Transcript;
use super::upstream::{BlackHole, Seen, Upstream};
use crate::certs::Store;
use crate::ports;
use crate::proxy::{self, Kind, Proxy};
use crate::wire::Peer;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A proxy, what is behind it, and how its ports are called.
#[derive(Debug)]
pub struct Side {
    /// The proxy.
    pub proxy: Proxy,
    kind: Kind,
    upstreams: BTreeMap<usize, Upstream>,
    _holes: Vec<BlackHole>,
    listeners: BTreeMap<String, u16>,
    names: Names,
    certs: Arc<Store>,
}

/// What a case began with.
#[derive(Debug)]
pub struct Before {
    stats: Vec<Option<i64>>,
    logs: Vec<usize>,
}

impl Side {
    /// Starts upstreams and proxy for a configuration template. Placeholders: `{{admin}}`,
    /// `{{listener_N}}`, `{{upstream_N}}`, `{{dead_N}}` (nobody listens), `{{hole_N}}` (no SYN is
    /// answered) are ports on 127.0.0.1; `{{dir}}` is the folder of the proxy; `{{cert:NAME}}`,
    /// `{{key:NAME}}`, `{{ca:NAME}}` and so on are made of the file's certificates.
    ///
    /// # Errors
    /// An unknown placeholder, or the proxy does not start.
    pub fn start(kind: Kind, template: &str, file: &File, certs: &Arc<Store>) -> Result<Self> {
        let dir = proxy::new_dir()?;
        let mut upstreams = BTreeMap::new();
        let mut holes = Vec::new();
        let mut listeners: BTreeMap<String, u16> = BTreeMap::new();
        let mut names = Names { dir: dir.display().to_string(), ..Names::default() };
        let mut failure = None;
        let config = proxy::fill(template, |name| {
            if name == "dir" {
                return Some(names.dir.clone());
            }
            if let Some(port) = listeners.get(name) {
                return Some(port.to_string());
            }
            if name.contains(':') {
                return certs.placeholder(name, &dir).map_err(|error| failure = Some(error)).ok();
            }
            match new_port(name, file, certs, &mut upstreams, &mut holes) {
                Ok(port) => {
                    listeners.insert(name.to_owned(), port);
                    names.ports.insert(port, name.to_owned());
                    Some(port.to_string())
                }
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let admin = *listeners.get("admin").context("the configuration has no {{admin}}")?;
        let proxy = Proxy::start(kind, dir, &config?, admin, &file.args)?;
        let certs = Arc::clone(certs);
        Ok(Self { proxy, kind, upstreams, _holes: holes, listeners, names, certs })
    }

    /// Which proxy this is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The certificates of the case file.
    #[must_use]
    pub fn certs(&self) -> Arc<Store> {
        Arc::clone(&self.certs)
    }

    /// Connects to a listener: its name in the configuration, or `FILE.sock` in the folder.
    ///
    /// # Errors
    /// Unknown, or what the kernel says.
    pub fn connect(&self, listener: &str) -> Result<Peer> {
        if listener.ends_with(".sock") {
            return Ok(Peer::connect_unix(&self.proxy.dir.join(listener))?);
        }
        let port = self.listeners.get(listener).context("no such listener")?;
        Ok(Peer::connect(SocketAddr::from(([127, 0, 0, 1], *port)))?)
    }

    /// How many requests an upstream has seen in this case.
    #[must_use]
    pub fn requests_seen(&self, upstream: usize) -> usize {
        let seen = self.upstreams.get(&upstream).map(Upstream::seen).unwrap_or_default();
        seen.iter().filter(|seen| seen.request).count()
    }

    /// Begins a case.
    ///
    /// # Errors
    /// It scripts an upstream the configuration does not have.
    pub fn begin(&self, case: &Case) -> Result<Before> {
        self.upstreams.values().for_each(Upstream::begin);
        for (n, script) in &case.scripts {
            let upstream = self.upstreams.get(n);
            upstream.with_context(|| format!("no {{{{upstream_{n}}}}}"))?.script(script.clone());
        }
        let logs = case.logs.iter().map(|(file, _)| self.quiet_lines(file)).collect();
        let stats = if case.stats.is_empty() {
            vec![]
        } else {
            // What the connections of the case before change in ending.
            std::thread::sleep(Duration::from_millis(50));
            self.proxy.stats(&case.stats)
        };
        Ok(Before { stats, logs })
    }

    /// Lines of a log once nothing has been added for a while.
    fn quiet_lines(&self, file: &str) -> usize {
        let mut last = self.proxy.file(file).lines().count();
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(80));
            let now = self.proxy.file(file).lines().count();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    /// The transcript of a case, as of now.
    #[must_use]
    pub fn transcript(&self, case: &Case, clients: &Clients<'_>, before: &Before) -> Transcript {
        let mut names = self.names.clone();
        // A client of a unix socket has no port.
        for port in clients.ports.iter().filter(|port| **port != 0) {
            names.ports.insert(*port, "client".to_owned());
        }
        let normal = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| names.normal(line)).collect()
        };
        let mut client = normal(clients.lines.clone());
        if case.opts.any_order {
            client.sort();
        }
        let mut sections = vec![("what the clients got".to_owned(), client)];
        for (name, seen) in self.seen(case) {
            sections.push((name, seen_lines(seen, case, &names)));
        }
        if !case.stats.is_empty() {
            sections.push(("statistics".to_owned(), self.stat_lines(case, before)));
        }
        for ((file, _), from) in case.logs.iter().zip(&before.logs) {
            let text = self.proxy.file(file);
            let lines = text.lines().skip(*from).map(str::to_owned).collect();
            sections.push((format!("log {file}"), normal(lines)));
        }
        Transcript { sections }
    }

    /// Whether every log has the lines the case says.
    #[must_use]
    pub fn logs_complete(&self, case: &Case, before: &Before) -> bool {
        case.logs
            .iter()
            .zip(&before.logs)
            .all(|((file, lines), from)| self.proxy.file(file).lines().count() == from + lines)
    }

    fn seen(&self, case: &Case) -> Vec<(String, Vec<Seen>)> {
        let each =
            self.upstreams.iter().map(|(n, up)| (format!("what upstream {n} saw"), up.seen()));
        if !case.opts.merge_up {
            return each.collect();
        }
        vec![("what the upstreams saw".to_owned(), each.flat_map(|(_, seen)| seen).collect())]
    }

    fn stat_lines(&self, case: &Case, before: &Before) -> Vec<String> {
        let now = self.proxy.stats(&case.stats);
        let line =
            |((name, before), now): ((&String, &Option<i64>), &Option<i64>)| match (before, now) {
                (_, None) => format!("{name}: absent"),
                (before, Some(now)) => format!("{name}: {:+}", now - before.unwrap_or(0)),
            };
        case.stats.iter().zip(&before.stats).zip(&now).map(line).collect()
    }
}

fn new_port(
    name: &str,
    file: &File,
    certs: &Arc<Store>,
    upstreams: &mut BTreeMap<usize, Upstream>,
    holes: &mut Vec<BlackHole>,
) -> Result<u16> {
    if let Some(n) = name.strip_prefix("upstream_") {
        let n: usize = n.parse()?;
        let rules = file.rules.iter().filter(|rule| rule.upstream == n).cloned().collect();
        let options = file.upstreams.get(&n).cloned().unwrap_or_default();
        let upstream = Upstream::start(rules, options, certs)?;
        let port = upstream.port;
        upstreams.insert(n, upstream);
        return Ok(port);
    }
    if name.starts_with("hole_") {
        let hole = BlackHole::start()?;
        let port = hole.port;
        holes.push(hole);
        return Ok(port);
    }
    let known = name == "admin" || name.starts_with("listener_") || name.starts_with("dead_");
    anyhow::ensure!(known, "unknown placeholder {{{{{name}}}}}");
    Ok(ports::free())
}

/// Requests with their connections numbered by first use in this case, so that reuse shows.
fn seen_lines(seen: Vec<Seen>, case: &Case, names: &Names) -> Vec<String> {
    let free = case.opts.sort_up || case.opts.merge_up;
    let mut numbers = BTreeMap::new();
    let mut blocks: Vec<(usize, Vec<String>)> = Vec::new();
    for seen in seen {
        let next = numbers.len() + 1;
        let number = *numbers.entry(seen.connection).or_insert(next);
        let mut block: Vec<String> = seen.lines.iter().map(|line| names.normal(line)).collect();
        if case.opts.any_order && !block.is_empty() {
            block[1..].sort();
        }
        if !free {
            block.insert(0, format!("on connection {number}"));
        }
        blocks.push((if free { 0 } else { number }, block));
    }
    if free {
        blocks.sort();
    }
    // Connections end on their own time: what happened on one stays together.
    blocks.sort_by_key(|(number, _)| *number);
    blocks.into_iter().flat_map(|(_, block)| block).collect()
}
