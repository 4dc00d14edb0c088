//! Everything at once, at random: sizes, hints, limits, half-closes, resets and drops at any stage.
//! What comes back must be what was sent, and nothing may be left (see `settle`).

use super::*;
use ringway_runtime::{rand_below, sleep, spawn};
use std::rc::Rc;
use std::time::Duration;

const CONNECTIONS: usize = 150;

pub(crate) fn echoes_survive_chaos(rt: &mut Runtime) {
    rt.block_on(within("chaos", async {
        let (listener, addr) = listen();
        let server = spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                spawn(echo(stream));
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let addr = addr.clone();
                spawn(async move {
                    sleep(Duration::from_micros(rand_below(20_000))).await;
                    let stream = connect(&addr, &ConnectOptions::default()).await.expect("connect");
                    client(stream).await;
                })
            })
            .collect();
        for (i, client) in clients.into_iter().enumerate() {
            if i % 7 == 0 {
                sleep(Duration::from_micros(rand_below(3000))).await;
                client.abort();
            } else {
                client.await;
            }
        }
        server.abort();
        // The echoes end when they see that their clients have gone.
        sleep(Duration::from_millis(50)).await;
    }));
}

/// Sends everything back, with whims of its own.
async fn echo(stream: Stream) {
    let whim = rand_below(10);
    if whim == 0 {
        stream.set_recv_limit(1 + rand_below(100_000) as usize);
    }
    while let Ok(Some(chunk)) = stream.recv().await {
        match rand_below(40) {
            0 => stream.recv_hint(rand_below(500_000) as usize),
            1 => sleep(Duration::from_micros(rand_below(3000))).await,
            2 => {
                let mut chunk = chunk.clone();
                let head = chunk.split_to(rand_below(chunk.len() as u64 + 1) as usize);
                stream.unread(chunk);
                stream.write(head);
                continue;
            }
            _ => {}
        }
        stream.write(chunk);
        if stream.queued_below(rand_below(200_000) as usize).await.is_err() {
            return;
        }
        if whim == 1 && rand_below(30) == 0 {
            return stream.reset();
        }
    }
    stream.shutdown_write();
    // Its outcome is the client's to see.
    let _ = stream.flush().await;
}

/// Sends a pattern in random pieces, and checks that the answer is that pattern.
async fn client(stream: Stream) {
    let total = rand_below(600_000) as usize;
    let data = Rc::new(pattern(total));
    let stream = Rc::new(stream);
    let writer = spawn({
        let (stream, data) = (Rc::clone(&stream), Rc::clone(&data));
        async move {
            let mut rest = &data[..];
            while !rest.is_empty() {
                let (part, more) = rest.split_at((1 + rand_below(50_000) as usize).min(rest.len()));
                stream.write(Chunk::copy_from(part));
                rest = more;
                if stream.queued_below(rand_below(100_000) as usize).await.is_err() {
                    return;
                }
            }
            stream.shutdown_write();
        }
    });
    let mut got = 0;
    let quits_at =
        if rand_below(5) == 0 { rand_below(total as u64 + 1) as usize } else { usize::MAX };
    let clean = loop {
        if got >= quits_at {
            break false;
        }
        match stream.recv().await {
            Ok(Some(chunk)) => {
                assert!(data.get(got..).is_some_and(|rest| rest.starts_with(&chunk)), "at {got}");
                got += chunk.len();
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!clean || got == total, "a clean end after {got} of {total} bytes");
    writer.abort();
}
