//! A control plane to measure proxies with: the aggregated discovery service, state of the world.
//!
//! It makes up clusters, endpoints, a listener and its routes, and changes them when told to. Each
//! endpoint has an address of its own in 127.0.0.0/8, and all of them the same port, so that one
//! upstream that listens on all addresses serves all clusters.

mod serve;
mod session;
#[cfg(test)]
mod tests;
mod world;

pub use serve::{Heard, Server};
pub use world::{Kind, Plan, World, cluster_name};

use crate::cli::AdsArgs;
use anyhow::{Context, Result};
use ringway_runtime::{
    Config, ListenOptions, Listener, Runtime, SockAddr, Stream, precise_now, signal, sleep, spawn,
};
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Runs `ringway-perf ads` until SIGINT or SIGTERM.
///
/// # Errors
/// The address cannot be listened on, or the core is not there.
pub fn run(args: &AdsArgs) -> Result<()> {
    let plan = Plan {
        clusters: args.clusters,
        endpoints: args.endpoints,
        upstream: args.upstream,
        listen: args.proxy_listen,
    };
    let addr: SockAddr = args.listen.into();
    let (rate, resend) = (args.update_rate, args.resend);
    Runtime::new(Config { cpu: args.cpu, ..Config::default() })?.block_on(async move {
        let listener = listen(&addr)?;
        println!("listening on {}", listener.local_addr()?);
        let server = Rc::new(Server::new(World::new(plan)?));
        spawn(Rc::clone(&server).serve(listener));
        if let Some(rate) = rate {
            let server = Rc::clone(&server);
            spawn(async move { updates(&server, rate, &Updates::default()).await });
        }
        if let Some(interval) = resend {
            let server = Rc::clone(&server);
            spawn(async move {
                loop {
                    sleep(interval).await;
                    if let Err(err) = server.push(Kind::Cluster, unchanged) {
                        eprintln!("ringway-perf: {err:#}");
                    }
                }
            });
        }
        signal::wait(&[signal::SIGINT, signal::SIGTERM]).await?;
        let heard = server.heard();
        println!(
            "{} streams, {} accepted, refused: {:?}",
            heard.streams, heard.acks, heard.refusals
        );
        Ok(())
    })
}

/// A change that changes nothing: all clusters are sent again under another version.
///
/// # Errors
/// None.
pub fn unchanged(world: &mut World) -> Result<Vec<Rc<str>>> {
    world.touch();
    Ok(Vec::new())
}

/// What a series of updates is told, and tells.
#[derive(Debug, Default)]
pub struct Updates {
    /// It is to end.
    pub stop: AtomicBool,
    /// Updates sent.
    pub sent: AtomicU64,
}

/// Moves one endpoint of one cluster after the other, so many per second, until told to stop. The
/// last cluster, which has its own measurement, is left alone.
pub async fn updates(server: &Server, rate: f64, told: &Updates) {
    let started = precise_now();
    let clusters = server.world().clusters().saturating_sub(1).max(1);
    let mut sent = 0;
    while !told.stop.load(Ordering::Relaxed) {
        let due = (precise_now().since(started).as_secs_f64() * rate) as usize;
        while sent < due {
            let (cluster, moves) = (sent % clusters, 1 + sent / clusters);
            let moved = server.push(Kind::Endpoints, |world| {
                let last = world.endpoints().saturating_sub(1);
                let moves = |at| if at == last { moves } else { 0 };
                let all = (0..=last).map(|at| world.endpoint(cluster, at, moves(at)));
                let all: Vec<_> = all.collect();
                Ok(vec![world.set_endpoints(cluster, &all)])
            });
            if moved.is_err() {
                return;
            }
            sent += 1;
        }
        told.sent.store(sent as u64, Ordering::Relaxed);
        sleep(Duration::from_millis(1)).await;
    }
}

/// Something to do on the server's thread.
type Job = Box<dyn FnOnce(Rc<Server>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A control plane in a thread of this process, and whatever has to be near it.
#[derive(Debug)]
pub struct Background {
    /// Where it listens.
    pub addr: SocketAddr,
    jobs: mpsc::Sender<Job>,
    bell: UnixStream,
}

impl Background {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port, no thread, or the core is not there.
    pub fn start(plan: Plan, cpu: Option<usize>) -> Result<Self> {
        let (jobs, orders) = mpsc::channel();
        let (bell, ear) = UnixStream::pair().context("opening a socket pair")?;
        let (send, receive) = mpsc::channel();
        std::thread::Builder::new().name("ads".to_owned()).spawn(move || {
            let report = send.clone();
            if let Err(err) = background(plan, cpu, send, &orders, ear) {
                // Nobody waits for a later error: jobs are then refused.
                let _ = report.send(Err(err));
            }
        })?;
        let addr = receive.recv().context("the thread of the control plane ended")??;
        Ok(Self { addr, jobs, bell })
    }

    /// Runs something on the server's thread and waits for it.
    ///
    /// # Errors
    /// The thread has ended; or those of the job.
    pub fn run<T, F>(&self, job: impl FnOnce(Rc<Server>) -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let (send, receive) = mpsc::channel();
        let job: Job = Box::new(move |server| {
            Box::pin(async move {
                // Whoever asked has gone.
                let _ = send.send(job(server).await);
            })
        });
        self.jobs.send(job).ok().context("the control plane has ended")?;
        (&self.bell).write_all(&[0]).context("calling the control plane")?;
        receive.recv().context("the control plane has ended")?
    }

    /// Starts [`updates`], which go on while `during` runs.
    ///
    /// # Errors
    /// As [`Background::run`], and those of `during`.
    pub fn with_updates<T>(
        &self,
        rate: f64,
        during: impl FnOnce() -> Result<T>,
    ) -> Result<(T, u64)> {
        let told = Arc::new(Updates::default());
        let theirs = Arc::clone(&told);
        self.run(move |server| async move {
            spawn(async move { updates(&server, rate, &theirs).await });
            Ok(())
        })?;
        let result = during();
        told.stop.store(true, Ordering::Relaxed);
        Ok((result?, told.sent.load(Ordering::Relaxed)))
    }
}

fn background(
    plan: Plan,
    cpu: Option<usize>,
    send: mpsc::Sender<Result<SocketAddr>>,
    orders: &mpsc::Receiver<Job>,
    ear: UnixStream,
) -> Result<()> {
    Runtime::new(Config { cpu, ..Config::default() })?.block_on(async move {
        let listener = listen(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        let addr = listener.local_addr()?.as_inet().context("no IP address")?;
        let server = Rc::new(Server::new(World::new(plan)?));
        spawn(Rc::clone(&server).serve(listener));
        let _ = send.send(Ok(addr));
        ear.set_nonblocking(true)?;
        let ear = Stream::from_fd(OwnedFd::from(ear))?;
        while ear.recv().await?.is_some() {
            while let Ok(job) = orders.try_recv() {
                spawn(job(Rc::clone(&server)));
            }
        }
        Ok(())
    })
}

fn listen(addr: &SockAddr) -> Result<Listener> {
    Listener::bind(addr, &ListenOptions::default())
        .with_context(|| format!("listening on {addr}: is the port taken?"))
}
