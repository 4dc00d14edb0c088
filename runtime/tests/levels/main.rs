//! One suite, run on every level of I/O.

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, Level, ListenOptions, Listener, Runtime, SockAddr,
    Stream, connect,
};
use std::future::Future;
use std::net::SocketAddr;

mod chaos;
mod others;
mod streams;
mod tasks;

/// Tests by module, as functions of one level.
macro_rules! level {
    ($name:ident, $backend:expr, $($module:ident :: $test:ident),* $(,)?) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $test() {
                    let Some(mut rt) = runtime($backend) else { return };
                    $module::$test(&mut rt);
                    settle(&mut rt);
                }
            )*
        }
    };
}

/// What a simulated network can do as well.
macro_rules! everywhere {
    ($name:ident, $backend:expr) => {
        level!(
            $name,
            $backend,
            tasks::joins_and_aborts,
            tasks::sleeps_in_order,
            tasks::timeout_wins_and_loses,
            tasks::yields_to_others,
            streams::echoes_tcp,
            streams::moves_megabytes_both_ways,
            streams::half_close_is_seen,
            streams::reset_is_an_error,
            streams::refused_connection_is_an_error,
            streams::back_pressure_holds_the_writer,
            streams::slow_reader_bounds_what_is_received,
            streams::idle_stream_notices_fin,
            streams::dropped_connect_leaks_nothing,
            streams::many_connections,
            streams::unread_comes_back_first,
            streams::paused_listener_accepts_later,
            others::splices_both_ways,
            others::splice_stops_at_its_limit,
            others::lines_reach_the_file,
            others::buffers_return_to_the_pool,
            others::ring_exhaustion_starves_nobody,
            chaos::echoes_survive_chaos,
        );
    };
}

/// What takes real descriptors or threads.
macro_rules! on_the_system {
    ($name:ident, $backend:expr) => {
        level!(
            $name,
            $backend,
            streams::echoes_unix,
            streams::descriptor_moves_on,
            others::datagrams_come_and_go,
            others::signals_arrive,
            others::mesh_crosses_threads,
            others::ended_runtime_answers_with_errors,
        );
    };
}

everywhere!(uring, Backend::Uring);
everywhere!(uring_511, Backend::Uring511);
everywhere!(epoll, Backend::Epoll);
everywhere!(sim, Backend::Sim(Network::new(seed(), Faults::default())));
on_the_system!(uring_system, Backend::Uring);
on_the_system!(uring_511_system, Backend::Uring511);
on_the_system!(epoll_system, Backend::Epoll);

/// A runtime of the level, or `None` (with a word about it) where this kernel has none.
fn runtime(backend: Backend) -> Option<Runtime> {
    match Runtime::new(Config { backend: backend.clone(), seed: seed(), ..Config::default() }) {
        Ok(rt) => Some(rt),
        Err(err) => {
            println!("skipped: {backend:?}: {err}");
            None
        }
    }
}

/// From `SEED`, to look for trouble with other ones.
fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// Lets cancelled operations finish, then expects that nothing is left.
fn settle(rt: &mut Runtime) {
    for _ in 0..200 {
        if rt.usage() == ringway_runtime::Usage::default() {
            return;
        }
        rt.block_on(ringway_runtime::sleep(std::time::Duration::from_millis(1)));
    }
    assert_eq!(rt.usage(), ringway_runtime::Usage::default(), "something leaked");
}

fn any_port() -> SockAddr {
    SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// A listener on a free port and its address.
fn listen() -> (Listener, SockAddr) {
    let listener = Listener::bind(&any_port(), &ListenOptions::default()).expect("bind");
    let addr = listener.local_addr().expect("local_addr");
    (listener, addr)
}

/// Both ends of a connection.
async fn pair() -> (Stream, Stream) {
    let (listener, addr) = listen();
    pair_of(&listener, &addr).await
}

async fn pair_of(listener: &Listener, addr: &SockAddr) -> (Stream, Stream) {
    let client = ringway_runtime::spawn({
        let addr = addr.clone();
        async move { connect(&addr, &ConnectOptions::default()).await.expect("connect") }
    });
    let (server, _) = listener.accept().await.expect("accept");
    (client.await, server)
}

/// Reads exactly `n` bytes.
async fn read_exact(stream: &Stream, n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < n {
        match stream.recv().await.expect("recv") {
            Some(mut chunk) => {
                out.extend_from_slice(&chunk.split_to(n - out.len()));
                stream.unread(chunk);
            }
            None => panic!("end of stream after {} of {n} bytes", out.len()),
        }
    }
    out
}

/// Reads to the end of the stream.
async fn read_all(stream: &Stream) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(chunk) = stream.recv().await.expect("recv") {
        out.extend_from_slice(&chunk);
    }
    out
}

/// Fails instead of hanging.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match ringway_runtime::timeout(std::time::Duration::from_secs(10), future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// Bytes that differ from place to place.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn text(text: &'static str) -> Chunk {
    Chunk::from(text)
}
