//! Streams and listeners.

use super::*;
use ringway_runtime::{Chain, spawn, yield_now};
use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;
use std::time::Duration;

pub(crate) fn echoes_tcp(rt: &mut Runtime) {
    rt.block_on(within("echo", async {
        let (client, server) = pair().await;
        assert_eq!(client.peer_addr().expect("peer"), server.local_addr().expect("local"));
        for round in 0..100_u8 {
            client.write(Chunk::copy_from(&[round; 100]));
            let got = read_exact(&server, 100).await;
            server.write(Chunk::from(got));
            assert_eq!(read_exact(&client, 100).await, [round; 100]);
        }
        match client.tcp_info() {
            Ok(info) => assert!(info.rtt > Duration::ZERO),
            Err(err) => assert_eq!(err.kind(), ErrorKind::Unsupported, "{err}"),
        }
    }));
}

pub(crate) fn echoes_unix(rt: &mut Runtime) {
    let path =
        std::env::temp_dir().join(format!("ringway-{}-{:?}", std::process::id(), rt.backend()));
    let _ = std::fs::remove_file(&path);
    rt.block_on(within("echo over unix", async {
        let addr = SockAddr::unix(&path);
        let opts = ListenOptions { mode: Some(0o600), ..ListenOptions::default() };
        let listener = Listener::bind(&addr, &opts).expect("bind");
        let (client, server) = pair_of(&listener, &addr).await;
        client.write(text("over"));
        assert_eq!(read_exact(&server, 4).await, b"over");
        server.write(text("back"));
        assert_eq!(read_exact(&client, 4).await, b"back");
    }));
    std::fs::remove_file(&path).expect("the socket's file");
}

pub(crate) fn moves_megabytes_both_ways(rt: &mut Runtime) {
    let data = pattern(5_000_000);
    rt.block_on(within("bulk", async {
        let (client, server) = pair().await;
        let expected = data.clone();
        let echo = spawn(async move {
            server.recv_hint(expected.len());
            while let Some(chunk) = server.recv().await.expect("recv") {
                server.write(chunk);
                server.queued_below(256 << 10).await.expect("send");
            }
            server.shutdown_write();
            server.flush().await.expect("flush");
            server
        });
        let mut chain = Chain::new();
        data.chunks(10_007).for_each(|part| chain.push(Chunk::copy_from(part)));
        client.write_chain(chain);
        client.shutdown_write();
        let got = read_all(&client).await;
        assert!(got == data, "{} of {} bytes, or in the wrong order", got.len(), data.len());
        echo.await;
    }));
}

pub(crate) fn half_close_is_seen(rt: &mut Runtime) {
    rt.block_on(within("half close", async {
        let (client, server) = pair().await;
        client.write(text("last words"));
        client.shutdown_write();
        assert_eq!(read_all(&server).await, b"last words");
        assert!(server.readable_closed());
        server.write(text("still open"));
        assert_eq!(read_exact(&client, 10).await, b"still open");
        drop(server);
        assert!(client.recv().await.expect("fin").is_none());
        assert!(client.recv().await.expect("fin sticks").is_none());
    }));
}

pub(crate) fn reset_is_an_error(rt: &mut Runtime) {
    rt.block_on(within("reset", async {
        let (client, server) = pair().await;
        server.reset();
        let err = client.recv().await.expect_err("a reset");
        assert_eq!(err.kind(), ErrorKind::ConnectionReset);
        assert!(client.readable_closed());
        client.write(text("into the void"));
        let err = client.flush().await.expect_err("broken pipe");
        assert_eq!(err.kind(), ErrorKind::BrokenPipe);
        assert_eq!(client.write_error(), Some(ErrorKind::BrokenPipe));
    }));
}

pub(crate) fn refused_connection_is_an_error(rt: &mut Runtime) {
    rt.block_on(within("refused", async {
        let (listener, addr) = listen();
        drop(listener);
        // A listener's socket closes once its accept has been taken back.
        for _ in 0..50 {
            match connect(&addr, &ConnectOptions::default()).await {
                Err(err) => return assert_eq!(err.kind(), ErrorKind::ConnectionRefused),
                Ok(_) => ringway_runtime::sleep(Duration::from_millis(2)).await,
            }
        }
        panic!("the listener is still open");
    }));
}

pub(crate) fn back_pressure_holds_the_writer(rt: &mut Runtime) {
    rt.block_on(within("back-pressure", async {
        let (client, server) = pair().await;
        let size = 16 << 20;
        client.write(Chunk::from(pattern(size)));
        let blocked = spawn(async move {
            client.flush().await.expect("flush");
            client
        });
        for _ in 0..50 {
            yield_now().await;
        }
        assert!(!blocked.is_finished(), "nobody reads 16 MB, so they cannot all be accepted");
        assert!(read_exact(&server, size).await == pattern(size));
        assert_eq!(blocked.await.queued(), 0);
    }));
}

pub(crate) fn slow_reader_bounds_what_is_received(rt: &mut Runtime) {
    rt.block_on(within("slow reader", async {
        let (client, server) = pair().await;
        let size = 8 << 20;
        server.set_recv_limit(64 << 10);
        // Arms the receive, then reads nothing for a while.
        poll_fn(|cx| {
            assert!(server.poll_closed_or_readable(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        client.write(Chunk::from(pattern(size)));
        ringway_runtime::sleep(Duration::from_millis(50)).await;
        let mut held = 0;
        while let Some(Ok(Some(chunk))) = server.try_recv() {
            held += chunk.len();
            if held > size / 2 {
                break;
            }
            if held == chunk.len() {
                assert!(client.queued() > 0, "the sender must feel it");
            }
        }
        drop(server);
    }));
}

pub(crate) fn idle_stream_notices_fin(rt: &mut Runtime) {
    rt.block_on(within("fin on an idle stream", async {
        let (client, server) = pair().await;
        client.write(text("x"));
        assert_eq!(read_exact(&server, 1).await, b"x");
        poll_fn(|cx| {
            assert!(server.poll_closed_or_readable(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(!server.readable_closed());
        drop(client);
        poll_fn(|cx| server.poll_closed_or_readable(cx)).await;
        assert!(server.readable_closed());
        assert!(matches!(server.try_recv(), Some(Ok(None))));
    }));
}

pub(crate) fn dropped_connect_leaks_nothing(rt: &mut Runtime) {
    rt.block_on(within("dropped connect", async {
        // Reserved for documentation: nobody answers, so the attempt stays in flight (or the
        // network is unreachable, and it fails at once).
        let nowhere = SockAddr::from(SocketAddr::from(([192, 0, 2, 1], 9)));
        let opts = ConnectOptions::default();
        let attempt = connect(&nowhere, &opts);
        let _ = ringway_runtime::timeout(Duration::from_millis(10), attempt).await;
    }));
}

pub(crate) fn many_connections(rt: &mut Runtime) {
    rt.block_on(within("many connections", async {
        let (listener, addr) = listen();
        let server = spawn(async move {
            let mut tasks = Vec::new();
            for _ in 0..200 {
                let (stream, _) = listener.accept().await.expect("accept");
                tasks.push(spawn(async move {
                    while let Some(chunk) = stream.recv().await.expect("recv") {
                        stream.write(chunk);
                    }
                }));
            }
            for task in tasks {
                task.await;
            }
        });
        let clients: Vec<_> = (0..200_usize)
            .map(|i| {
                let addr = addr.clone();
                spawn(async move {
                    let stream = connect(&addr, &ConnectOptions::default()).await.expect("connect");
                    for round in 0..10 {
                        let data = pattern(1 + i * 37 + round);
                        stream.write(Chunk::copy_from(&data));
                        assert!(read_exact(&stream, data.len()).await == data);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
        server.await;
    }));
}

pub(crate) fn unread_comes_back_first(rt: &mut Runtime) {
    rt.block_on(within("unread", async {
        let (client, server) = pair().await;
        client.write(text("head|body"));
        let mut first = server.recv().await.expect("recv").expect("data");
        let head = first.split_to(5);
        server.unread(first);
        server.unread(head);
        assert_eq!(read_exact(&server, 9).await, b"head|body");
    }));
}

pub(crate) fn paused_listener_accepts_later(rt: &mut Runtime) {
    rt.block_on(within("paused listener", async {
        let (listener, addr) = listen();
        listener.pause();
        let client = spawn({
            let addr = addr.clone();
            async move { connect(&addr, &ConnectOptions::default()).await.expect("connect") }
        });
        let waited = ringway_runtime::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(waited.is_err(), "a paused listener accepts nothing");
        listener.resume();
        listener.accept().await.expect("accept");
        client.await;
    }));
}

pub(crate) fn descriptor_moves_on(rt: &mut Runtime) {
    rt.block_on(within("hand-over", async {
        let (client, server) = pair().await;
        let fd = server.take_fd().expect("take_fd");
        let server = Stream::from_fd(fd).expect("from_fd");
        client.write(text("hello"));
        assert_eq!(read_exact(&server, 5).await, b"hello");
        // Now one in use: armed, with something received and something to send.
        client.write(text("unread"));
        poll_fn(|cx| server.poll_closed_or_readable(cx)).await;
        server.write(text("last"));
        let (fd, received) = server.into_fd().await.expect("into_fd");
        assert_eq!(received.to_vec(), b"unread");
        let server = Stream::from_fd(fd).expect("from_fd");
        client.write(text("and on"));
        assert_eq!(read_exact(&server, 6).await, b"and on");
        assert_eq!(read_exact(&client, 4).await, b"last");
    }));
}
