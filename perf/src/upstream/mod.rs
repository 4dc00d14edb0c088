//! A static HTTP/1.1 server that costs little enough not to be the bottleneck.
//!
//! Answers are kept ready and shared; a request that repeats the connection's last one byte for
//! byte, as in every benchmark, is recognised without parsing it.

mod connection;
mod reply;
#[cfg(test)]
mod tests;

use crate::cli::UpstreamArgs;
use anyhow::{Context, Result};
use reply::Replies;
use ringway_runtime::{Config, ListenOptions, Listener, Runtime, SockAddr, signal, spawn};
use std::net::SocketAddr;
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
    let delay = args.delay;
    Runtime::new(config)?.block_on(async move {
        let listener = listen(&addr)?;
        println!("listening on {}", listener.local_addr()?);
        spawn(serve(listener, delay));
        signal::wait(&[signal::SIGINT, signal::SIGTERM]).await?;
        Ok(())
    })
}

/// An upstream in a thread of this process.
///
/// It runs until the process ends.
#[derive(Debug)]
pub struct Background {
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Background {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, no thread, or the core is not there.
    pub fn start(cpu: Option<usize>) -> Result<Self> {
        let (send, receive) = mpsc::channel();
        let thread = std::thread::Builder::new().name("upstream".to_owned());
        thread.spawn(move || {
            let report = send.clone();
            let result = background(cpu, send);
            if let Err(err) = result {
                // Nobody waits for a later error: connections then fail and are counted.
                let _ = report.send(Err(err));
            }
        })?;
        Ok(Self { addr: receive.recv().context("the upstream thread ended")?? })
    }
}

fn background(cpu: Option<usize>, send: mpsc::Sender<Result<SocketAddr>>) -> Result<()> {
    Runtime::new(Config { cpu, ..Config::default() })?.block_on(async move {
        let listener = listen(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let addr = listener.local_addr()?.as_inet().context("no IP address")?;
        let _ = send.send(Ok(addr));
        serve(listener, Duration::ZERO).await;
        Ok(())
    })
}

fn listen(addr: &SockAddr) -> Result<Listener> {
    Listener::bind(addr, &ListenOptions::default())
        .with_context(|| format!("listening on {addr}: is the port or the file taken?"))
}

async fn serve(listener: Listener, delay: Duration) {
    let replies = Rc::new(Replies::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let replies = Rc::clone(&replies);
                spawn(connection::serve(stream, replies, delay));
            }
            Err(err) => {
                eprintln!("upstream: no longer accepting: {err}");
                return;
            }
        }
    }
}
