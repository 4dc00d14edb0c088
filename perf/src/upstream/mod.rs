//! Servers that cost little enough not to be the bottleneck: static answers over HTTP/1.1 and
//! HTTP/2, echoes for WebSocket and gRPC, and servers of bare bytes.
//!
//! Answers are kept ready and shared; a request that repeats the connection's last one byte for
//! byte, as in every benchmark, is recognised without parsing it.

mod connection;
mod http2;
mod raw;
mod reply;
#[cfg(test)]
mod tests;
mod websocket;

use crate::cli::{Service, UpstreamArgs};
use anyhow::{Context, Result};
use reply::Replies;
use ringway_runtime::{Config, ListenOptions, Listener, Runtime, SockAddr, signal, spawn};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

/// Serves until SIGINT or SIGTERM; prints the address.
///
/// # Errors
/// The address cannot be listened on, the core or the I/O level is not there.
pub fn run(args: &UpstreamArgs) -> Result<()> {
    let addr = match &args.unix {
        Some(path) => SockAddr::unix(path),
        None => args.listen.into(),
    };
    let _ = crate::proc::raise_open_files();
    let config = Config { backend: args.io_backend.parse()?, cpu: args.cpu, ..Config::default() };
    let (service, delay) = (args.serve, args.delay);
    Runtime::new(config)?.block_on(async move {
        let listener = listen(&addr)?;
        println!("listening on {}", listener.local_addr()?);
        spawn(serve(listener, service, delay));
        signal::wait(&[signal::SIGINT, signal::SIGTERM]).await?;
        Ok(())
    })
}

/// An upstream in a thread of this process.
///
/// It runs until the process ends.
#[derive(Debug)]
pub struct Background {
    /// Where it speaks HTTP.
    pub addr: SocketAddr,
    /// Where it sends bytes back.
    pub echo: SocketAddr,
}

impl Background {
    /// Starts one on free ports of 127.0.0.1.
    ///
    /// # Errors
    /// No port, no thread, or the core is not there.
    pub fn start(cpu: Option<usize>) -> Result<Self> {
        Self::at([127, 0, 0, 1].into(), cpu)
    }

    /// The same on all addresses of this machine, all of 127.0.0.0/8 among them.
    ///
    /// # Errors
    /// As [`Background::start`].
    pub fn everywhere(cpu: Option<usize>) -> Result<Self> {
        Self::at([0, 0, 0, 0].into(), cpu)
    }

    fn at(ip: IpAddr, cpu: Option<usize>) -> Result<Self> {
        let (send, receive) = mpsc::channel();
        let thread = std::thread::Builder::new().name("upstream".to_owned());
        thread.spawn(move || {
            let report = send.clone();
            let result = background(ip, cpu, send);
            if let Err(err) = result {
                // Nobody waits for a later error: connections then fail and are counted.
                let _ = report.send(Err(err));
            }
        })?;
        let (addr, echo) = receive.recv().context("the upstream thread ended")??;
        Ok(Self { addr, echo })
    }
}

fn background(ip: IpAddr, cpu: Option<usize>, send: mpsc::Sender<Result<Addresses>>) -> Result<()> {
    Runtime::new(Config { cpu, ..Config::default() })?.block_on(async move {
        let any = SocketAddr::from((ip, 0)).into();
        let (http, echo) = (listen(&any)?, listen(&any)?);
        let addr = |listener: &Listener| listener.local_addr()?.as_inet().context("no IP address");
        let _ = send.send(Ok((addr(&http)?, addr(&echo)?)));
        spawn(serve(echo, Service::Echo, Duration::ZERO));
        serve(http, Service::Http, Duration::ZERO).await;
        Ok(())
    })
}

/// Where HTTP is spoken, and where bytes are sent back.
type Addresses = (SocketAddr, SocketAddr);

fn listen(addr: &SockAddr) -> Result<Listener> {
    Listener::bind(addr, &ListenOptions::default())
        .with_context(|| format!("listening on {addr}: is the port or the file taken?"))
}

async fn serve(listener: Listener, service: Service, delay: Duration) {
    let replies = Rc::new(Replies::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let replies = Rc::clone(&replies);
                spawn(async move {
                    // What goes wrong on a connection concerns nobody else.
                    let _ = match service {
                        Service::Http => connection::serve(stream, replies, delay).await,
                        Service::Echo => raw::echo(stream).await,
                        Service::Sink => raw::sink(stream).await,
                        Service::Source => raw::source(stream).await,
                    };
                });
            }
            Err(err) => {
                eprintln!("upstream: no longer accepting: {err}");
                return;
            }
        }
    }
}
