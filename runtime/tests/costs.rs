//! What the runtime may cost: no allocation per request, little memory per idle connection, no
//! descriptor left behind. One test function, as the counters are the process'.

use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, Stream,
    connect, sleep, spawn, timeout,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory
// but two counters. A global allocator is an unsafe trait by nature.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait demands of its caller. The trait has no safe form.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn costs_stay_within_bounds() {
    for backend in [Backend::Uring, Backend::Uring511, Backend::Epoll] {
        let config = Config { backend: backend.clone(), ..Config::default() };
        if let Err(err) = Runtime::new(config.clone()) {
            println!("skipped: {backend:?}: {err}");
            continue;
        }
        no_allocation_per_request(&config);
        little_memory_per_idle_stream(&config);
        no_descriptor_is_left(&config);
        tiny_queues_are_enough(&config);
    }
}

fn no_allocation_per_request(config: &Config) {
    let mut rt = Runtime::new(config.clone()).expect("runtime");
    rt.block_on(async {
        let (client, server) = pair().await;
        let request = Chunk::from_static(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let mut guard = sleep(Duration::from_secs(60));
        let mut round = async |count: usize| {
            for _ in 0..count {
                client.write(request.clone());
                client.write(Chunk::copy_from(b"a small body"));
                let got = server.recv().await.expect("recv").expect("data");
                guard.reset(ringway_runtime::now() + Duration::from_secs(60));
                let _ = timeout(Duration::from_secs(5), async {
                    server.write(got);
                    client.recv().await.expect("recv").expect("data")
                })
                .await;
            }
        };
        round(2000).await;
        let before = CALLS.load(Ordering::Relaxed);
        round(2000).await;
        let calls = CALLS.load(Ordering::Relaxed) - before;
        assert_eq!(calls, 0, "{:?}: allocations in 2000 requests", config.backend);
    });
}

fn little_memory_per_idle_stream(config: &Config) {
    const PAIRS: usize = 400;
    let mut rt = Runtime::new(config.clone()).expect("runtime");
    rt.block_on(async {
        let mut pairs = Vec::with_capacity(2 * PAIRS);
        // The slab has grown once, and the pools are warm.
        for _ in 0..PAIRS {
            pairs.push(used_pair().await);
        }
        let before = BYTES.load(Ordering::Relaxed);
        for _ in 0..PAIRS {
            pairs.push(used_pair().await);
        }
        let bytes = BYTES.load(Ordering::Relaxed) - before;
        let per_stream = bytes / (2 * PAIRS);
        println!("{:?}: {per_stream} bytes of heap per idle stream", config.backend);
        assert!(per_stream <= 600, "{:?}: {per_stream} bytes per idle stream", config.backend);
    });
}

/// A connection that has carried something both ways, and waits for more.
async fn used_pair() -> (Stream, Stream) {
    let (client, server) = pair().await;
    client.write(Chunk::from_static(b"ping"));
    server.recv().await.expect("recv");
    server.write(Chunk::from_static(b"pong"));
    client.recv().await.expect("recv");
    std::future::poll_fn(|cx| {
        assert!(server.poll_closed_or_readable(cx).is_pending());
        assert!(client.poll_closed_or_readable(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    (client, server)
}

fn no_descriptor_is_left(config: &Config) {
    let before = descriptors();
    let mut rt = Runtime::new(config.clone()).expect("runtime");
    rt.block_on(async {
        let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = Listener::bind(&addr, &ListenOptions::default()).expect("bind");
        let addr = listener.local_addr().expect("addr");
        let serve = spawn(async move {
            // Takes some; the others are dropped with the listener, accepted or not.
            for _ in 0..20 {
                let (stream, _) = listener.accept().await.expect("accept");
                spawn(async move {
                    stream.write(Chunk::from(vec![7; 4 << 20]));
                    let _ = timeout(Duration::from_millis(3), stream.flush()).await;
                });
            }
        });
        for i in 0..60 {
            let addr = addr.clone();
            // Dropped at every stage: connecting, receiving, sending.
            let task = spawn(async move {
                // The last ones find the listener closed.
                let Ok(stream) = connect(&addr, &ConnectOptions::default()).await else { return };
                stream.write(Chunk::from(vec![1; 4 << 20]));
                loop {
                    if !matches!(stream.recv().await, Ok(Some(_))) {
                        return;
                    }
                }
            });
            sleep(Duration::from_millis(i % 3)).await;
            if i % 2 == 0 {
                task.abort();
            }
        }
        serve.abort();
        sleep(Duration::from_millis(20)).await;
    });
    let usage = rt.usage();
    assert_eq!(usage.tasks, 0, "{usage:?}");
    // Operations that were cancelled last need a turn to end.
    for _ in 0..50 {
        rt.block_on(sleep(Duration::from_millis(1)));
    }
    let usage = rt.usage();
    assert_eq!(usage, ringway_runtime::Usage::default(), "{:?}", config.backend);
    drop(rt);
    assert_eq!(descriptors(), before, "{:?}: descriptors before and after", config.backend);
}

/// The queues are far too small for what is asked at once: everything must still complete.
fn tiny_queues_are_enough(config: &Config) {
    let config = Config { submission_entries: 4, completion_entries: 8, ..config.clone() };
    let mut rt = Runtime::new(config).expect("runtime");
    rt.block_on(async {
        let mut pairs = Vec::new();
        for _ in 0..64 {
            pairs.push(pair().await);
        }
        for round in 0..20_u8 {
            for (client, server) in &pairs {
                client.write(Chunk::copy_from(&[round; 10]));
                server.write(Chunk::copy_from(&[round; 10]));
            }
            for (client, server) in &pairs {
                assert_eq!(&read_10(server).await, &[round; 10]);
                assert_eq!(&read_10(client).await, &[round; 10]);
            }
        }
    });
}

async fn read_10(stream: &Stream) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < 10 {
        let chunk = timeout(Duration::from_secs(10), stream.recv()).await.expect("lost");
        out.extend_from_slice(&chunk.expect("recv").expect("data"));
    }
    out
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

async fn pair() -> (Stream, Stream) {
    let addr = SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&addr, &ListenOptions::default()).expect("bind");
    let addr = listener.local_addr().expect("addr");
    let client =
        spawn(async move { connect(&addr, &ConnectOptions::default()).await.expect("connect") });
    let (server, _) = listener.accept().await.expect("accept");
    (client.await, server)
}
