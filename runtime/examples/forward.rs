//! The least an HTTP/1.1 proxy does, to measure the runtime's own share: requests are passed to a
//! pooled upstream connection, responses back, and only their length is looked at.
//!
//! `forward LEVEL LISTEN UPSTREAM` proxies; `forward LEVEL LISTEN serve BYTES` answers by itself.

use ringway_runtime::{
    Backend, Chunk, Config, ConnectOptions, ListenOptions, Listener, Runtime, SockAddr, Stream,
    connect, spawn,
};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "see the head of forward.rs");
    let backend: Backend = args.get(1).ok_or_else(usage)?.parse()?;
    let listen: SocketAddr = args.get(2).ok_or_else(usage)?.parse().map_err(io::Error::other)?;
    let upstream = args.get(3).ok_or_else(usage)?.clone();
    let cpu = std::env::var("CPU").ok().and_then(|cpu| cpu.parse().ok());
    let mut config = Config { backend, cpu, ..Config::default() };
    if let Some(bulk) = std::env::var("BULK").ok().and_then(|bulk| bulk.parse().ok()) {
        config.buffers.bulk_size = bulk;
    }
    let mut rt = Runtime::new(config)?;
    eprintln!("level {}", rt.backend());
    rt.block_on(async move {
        let listener = Listener::bind(&SockAddr::from(listen), &ListenOptions::default())?;
        if upstream == "serve" {
            let size = args.get(4).and_then(|size| size.parse().ok()).unwrap_or(100);
            let mut body =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
            body.resize(body.len() + size, b'x');
            let body = Chunk::from(body);
            loop {
                let (stream, _) = listener.accept().await?;
                spawn(serve(stream, body.clone()));
            }
        }
        let upstream: SocketAddr = upstream.parse().map_err(io::Error::other)?;
        let pool = Rc::new(Pool { addr: upstream.into(), idle: RefCell::new(Vec::new()) });
        loop {
            let (stream, _) = listener.accept().await?;
            let pool = Rc::clone(&pool);
            spawn(async move {
                // A connection that breaks concerns nobody else.
                let _ = forward(stream, &pool).await;
            });
        }
    })
}

async fn serve(stream: Stream, response: Chunk) {
    while let Ok(Some(chunk)) = stream.recv().await {
        let requests = chunk.windows(4).filter(|end| *end == b"\r\n\r\n").count();
        for _ in 0..requests {
            stream.write(response.clone());
        }
        if response.len() > 65536 && stream.queued_below(0).await.is_err() {
            return;
        }
    }
}

struct Pool {
    addr: SockAddr,
    idle: RefCell<Vec<Stream>>,
}

async fn forward(client: Stream, pool: &Pool) -> io::Result<()> {
    while let Some(request) = client.recv().await? {
        let idle = pool.idle.borrow_mut().pop();
        let server = match idle {
            Some(server) => server,
            None => connect(&pool.addr, &ConnectOptions::default()).await?,
        };
        server.write(request);
        let mut head = server.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut left = response_length(&head)?;
        server.recv_hint(left.saturating_sub(head.len()));
        loop {
            left = left.saturating_sub(head.len());
            client.write(head);
            if left == 0 {
                break;
            }
            client.queued_below(512 << 10).await?;
            head = server.recv().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        pool.idle.borrow_mut().push(server);
    }
    Ok(())
}

/// Bytes of the whole response whose head is in `data`.
fn response_length(data: &[u8]) -> io::Result<usize> {
    let end =
        data.windows(4).position(|end| end == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let head = std::str::from_utf8(&data[..end]).map_err(io::Error::other)?;
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
    Ok(end + 4 + length)
}
