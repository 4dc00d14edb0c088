//! Splice, datagrams, signals, files, the mesh, and the ends of things.

use super::*;
use ringway_runtime::file::{AppendOptions, Appender};
use ringway_runtime::mesh::CAPACITY;
use ringway_runtime::{UdpSocket, mesh, signal, spawn, splice, yield_now};
use std::rc::Rc;
use std::time::Duration;

pub(crate) fn splices_both_ways(rt: &mut Runtime) {
    let data = pattern(3_000_000);
    rt.block_on(within("splice", async {
        let (client, front) = pair().await;
        let (back, server) = pair().await;
        // Received before the pump begins: it must go first.
        client.write(Chunk::copy_from(&data[..1000]));
        let early = front.recv().await.expect("recv").expect("data");
        front.unread(early);
        let (front, back) = (Rc::new(front), Rc::new(back));
        let pump = |from: &Rc<Stream>, to: &Rc<Stream>| {
            let (from, to) = (Rc::clone(from), Rc::clone(to));
            spawn(async move { splice(&from, &to, u64::MAX).await.expect("splice") })
        };
        let there = pump(&front, &back);
        let here = pump(&back, &front);
        let echo = spawn(async move {
            while let Some(chunk) = server.recv().await.expect("recv") {
                server.write(chunk);
                server.queued_below(64 << 10).await.expect("send");
            }
            server.shutdown_write();
            server.flush().await.expect("flush");
        });
        client.write(Chunk::copy_from(&data[1000..]));
        client.shutdown_write();
        assert!(read_all(&client).await == data);
        assert_eq!(there.await, data.len() as u64);
        assert_eq!(here.await, data.len() as u64);
        echo.await;
    }));
}

pub(crate) fn splice_stops_at_its_limit(rt: &mut Runtime) {
    rt.block_on(within("limited splice", async {
        let (client, front) = pair().await;
        let (back, server) = pair().await;
        client.write(text("0123456789abcdef"));
        assert_eq!(splice(&front, &back, 10).await.expect("splice"), 10);
        assert_eq!(read_exact(&server, 10).await, b"0123456789");
        // Both go on as ordinary streams.
        assert_eq!(read_exact(&front, 6).await, b"abcdef");
        client.write(text("more"));
        assert_eq!(read_exact(&front, 4).await, b"more");
        back.write(text("tail"));
        assert_eq!(read_exact(&server, 4).await, b"tail");
    }));
}

pub(crate) fn datagrams_come_and_go(rt: &mut Runtime) {
    rt.block_on(within("datagrams", async {
        let a = UdpSocket::bind(&any_port()).expect("bind");
        let b = UdpSocket::bind(&any_port()).expect("bind");
        let b_addr = b.local_addr().expect("addr");
        let waiting = spawn(async move {
            let (data, from) = b.recv_from(1500).await.expect("recv_from");
            b.connect(&from).expect("connect");
            b.send(&data).await.expect("send");
            let (cut, _) = b.recv_from(3).await.expect("recv_from");
            cut.to_vec()
        });
        yield_now().await;
        a.send_to(b"ping", &b_addr).await.expect("send_to");
        let (data, from) = a.recv_from(1500).await.expect("recv_from");
        assert_eq!((&data[..], from), (&b"ping"[..], b_addr.clone()));
        a.send_to(b"truncated", &b_addr).await.expect("send_to");
        assert_eq!(waiting.await, b"tru");
    }));
}

pub(crate) fn signals_arrive(rt: &mut Runtime) {
    rt.block_on(within("a signal", async {
        let signals = signal::Signals::new(&[signal::SIGUSR2]).expect("signals");
        let waiting = spawn(async move { signals.next().await.expect("next") });
        yield_now().await;
        // To this thread only: other tests run in this process.
        let tid = rustix::thread::gettid();
        send_to_thread(tid.as_raw_nonzero().get());
        assert_eq!(waiting.await, signal::SIGUSR2);
    }));
}

fn send_to_thread(tid: i32) {
    // SAFETY: a system call with three numbers; it touches no memory of ours.
    let rc = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR2) };
    assert_eq!(rc, 0);
}

pub(crate) fn lines_reach_the_file(rt: &mut Runtime) {
    let name = format!("ringway-log-{}-{}", std::process::id(), rt.backend());
    let path = std::env::temp_dir().join(name);
    let moved = path.with_extension("1");
    let _ = std::fs::remove_file(&path);
    rt.block_on(within("log file", async {
        let quick = AppendOptions {
            flush_interval: Duration::from_millis(10),
            limit_bytes: 1 << 20,
            ..AppendOptions::default()
        };
        let log = Appender::open_with(&path, quick).expect("open");
        let mut expected = String::new();
        for i in 0..5000 {
            let line = format!("line {i}\n");
            log.write(line.as_bytes());
            expected.push_str(&line);
        }
        log.flush().await;
        assert_eq!(log.pending(), 0);
        assert!(std::fs::read_to_string(&path).expect("read") == expected);
        std::fs::rename(&path, &moved).expect("rename");
        log.reopen().expect("reopen");
        log.write_chunk(text("after\n"));
        ringway_runtime::sleep(Duration::from_millis(60)).await;
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "after\n");
        log.write(&vec![0; 2 << 20]);
        assert_eq!(log.dropped(), 1, "more than the limit is turned away");
        log.write(b"last\n");
        drop(log);
        ringway_runtime::sleep(Duration::from_millis(60)).await;
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "after\nlast\n");
    }));
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_file(&moved);
}

pub(crate) fn mesh_crosses_threads(rt: &mut Runtime) {
    let backend = match rt.backend() {
        Level::Uring => Backend::Uring,
        Level::Uring511 => Backend::Uring511,
        _ => Backend::Epoll,
    };
    let mut ends = mesh::<u64>(3).expect("mesh").into_iter();
    let mine = ends.next().expect("an end");
    let others: Vec<_> = ends
        .map(|end| {
            let config = Config { backend: backend.clone(), ..Config::default() };
            std::thread::spawn(move || {
                let mut rt = Runtime::new(config).expect("runtime");
                rt.block_on(within("the mesh", async {
                    let mailbox = end.attach().expect("attach");
                    loop {
                        match mailbox.recv().await {
                            0 => return,
                            n => mailbox.send(0, n * 10 + mailbox.index() as u64).expect("room"),
                        }
                    }
                }));
            })
        })
        .collect();
    rt.block_on(within("the mesh", async {
        let mailbox = mine.attach().expect("attach");
        for round in 1..100 {
            mailbox.broadcast(round).expect("room");
            let mut got = [mailbox.recv().await, mailbox.recv().await];
            got.sort_unstable();
            assert_eq!(got, [round * 10 + 1, round * 10 + 2]);
        }
        let mut sent = 0;
        while mailbox.send(0, 7).is_ok() {
            sent += 1;
        }
        assert_eq!(sent, CAPACITY, "to oneself, until full");
        for _ in 0..sent {
            assert_eq!(mailbox.recv().await, 7);
        }
        mailbox.broadcast(0).expect("room");
        yield_now().await;
    }));
    for other in others {
        other.join().expect("thread");
    }
}

pub(crate) fn ended_runtime_answers_with_errors(rt: &mut Runtime) {
    let backend = match rt.backend() {
        Level::Uring => Backend::Uring,
        Level::Uring511 => Backend::Uring511,
        _ => Backend::Epoll,
    };
    let mut other = Runtime::new(Config { backend, ..Config::default() }).expect("runtime");
    let (stream, _peer, chunk, listener) = other.block_on(async {
        let (listener, addr) = listen();
        let (client, server) = pair_of(&listener, &addr).await;
        client.write(text("kept"));
        let chunk = server.recv().await.expect("recv").expect("data");
        // Left with a receive and a large send in flight.
        client.write(Chunk::from(pattern(16 << 20)));
        let _ = ringway_runtime::timeout(Duration::from_millis(5), client.recv()).await;
        let _ = ringway_runtime::timeout(Duration::from_millis(5), listener.accept()).await;
        (client, server, chunk, listener)
    });
    drop(other);
    assert_eq!(&chunk[..], b"kept", "a chunk outlives its runtime");
    stream.write(text("nowhere"));
    rt.block_on(async {
        assert!(stream.recv().await.is_err());
        assert!(listener.accept().await.is_err());
    });
}

pub(crate) fn buffers_return_to_the_pool(rt: &mut Runtime) {
    rt.block_on(within("buffers", async {
        let (client, server) = pair().await;
        for _ in 0..5000 {
            client.write(text("request"));
            drop(server.recv().await.expect("recv"));
        }
    }));
}

pub(crate) fn ring_exhaustion_starves_nobody(rt: &mut Runtime) {
    rt.block_on(within("exhausted buffers", async {
        let (listener, addr) = listen();
        let mut pairs = Vec::new();
        for _ in 0..8 {
            pairs.push(pair_of(&listener, &addr).await);
        }
        let mut hoard = Vec::new();
        for _ in 0..300 {
            for (client, server) in &pairs {
                client.write(text("x"));
                hoard.push(server.recv().await.expect("recv").expect("data"));
            }
        }
        assert!(hoard.iter().all(|chunk| chunk[..] == *b"x"));
        assert_eq!(hoard.len(), 2400);
    }));
}
