//! Every protocol but HTTP/1.1 with keep-alive.

use super::{Front, Key, Scenario, Work};

const P256: Front = Front::Tls(Key::P256);
const RSA: Front = Front::Tls(Key::Rsa2048);

/// Bodies large enough that only bytes matter.
const MEGABYTE: u64 = 1 << 20;

pub(super) const TRAFFIC: [Scenario; 19] = [
    http2("h2-4x64", "HTTP/2 → HTTP/1.1, 4 connections × 64 streams", Front::Http2, 4, 64),
    http2("h2-64x1", "HTTP/2 → HTTP/1.1, 64 connections × 1 stream", Front::Http2, 64, 1),
    http2("h2h2-4x64", "HTTP/2 → HTTP/2, 4 connections × 64 streams", Front::Http2Both, 4, 64),
    http2("h2h2-64x1", "HTTP/2 → HTTP/2, 64 connections × 1 stream", Front::Http2Both, 64, 1),
    grpc("grpc-unary", "gRPC unary, 64 connections × 1 call", 64, 1, false),
    grpc("grpc-unary-4x64", "gRPC unary, 4 connections × 64 calls", 4, 64, false),
    grpc("grpc-stream", "gRPC streams, 64 connections × 1, 100 B there and back", 64, 1, true),
    Scenario::closed("tls-64", "TLS 1.3, 64 connections, 100 B", P256, Work::Get("/100b"), 64),
    Scenario {
        bytes: MEGABYTE,
        ..Scenario::closed("tls-1m", "TLS 1.3, 16 connections, 1 MB", P256, Work::Get("/1m"), 16)
    },
    once("tls-full", "full TLS 1.3 handshake, P-256, and one request", P256, false),
    once("tls-resumed", "resumed TLS 1.3 handshake, P-256, and one request", P256, true),
    once("tls-full-rsa", "full TLS 1.3 handshake, RSA-2048, and one request", RSA, false),
    once("new", "a new plain connection for each request, 100 B", Front::Http1, false),
    Scenario {
        bytes: MEGABYTE,
        ..Scenario::closed("plain-1m", "16 connections, 1 MB", Front::Http1, Work::Get("/1m"), 16)
    },
    tcp("tcp-1", "TCP, 1 connection, 64 KB there and back", 1),
    tcp("tcp-16", "TCP, 16 connections, 64 KB there and back", 16),
    tcp("tcp-64", "TCP, 64 connections, 64 KB there and back", 64),
    Scenario {
        unit: "message",
        ..Scenario::closed(
            "ws-64",
            "WebSocket, 64 connections, 100 B there and back",
            Front::WebSocket,
            Work::Echo(100),
            64,
        )
    },
    Scenario {
        unit: "message",
        ..Scenario::closed(
            "ws-16k",
            "WebSocket, 16 connections, 16 KB there and back",
            Front::WebSocket,
            Work::Echo(16 << 10),
            16,
        )
    },
];

pub(super) const IDLE: [Scenario; 4] = [
    Scenario::closed("idle-tcp", "TCP, after 64 B there and back", Front::Tcp, Work::Echo(64), 0),
    Scenario::closed("idle-h1", "HTTP/1.1, after a request", Front::Http1, Work::Get("/100b"), 0),
    Scenario::closed(
        "idle-h2",
        "HTTP/2 → HTTP/1.1, after a request",
        Front::Http2,
        Work::Get("/100b"),
        0,
    ),
    Scenario::closed("idle-tls", "HTTP/1.1 + TLS, after a request", P256, Work::Get("/100b"), 0),
];

const fn once(key: &'static str, title: &'static str, front: Front, resume: bool) -> Scenario {
    Scenario::closed(key, title, front, Work::Once { path: "/100b", resume }, 16)
}

const fn tcp(key: &'static str, title: &'static str, connections: usize) -> Scenario {
    const CHUNK: u64 = 64 << 10;
    Scenario {
        unit: "chunk",
        bytes: 2 * CHUNK,
        ..Scenario::closed(key, title, Front::Tcp, Work::Echo(CHUNK), connections)
    }
}

const fn http2(
    key: &'static str,
    title: &'static str,
    front: Front,
    connections: usize,
    streams: usize,
) -> Scenario {
    let scenario = Scenario::closed(key, title, front, Work::Get("/100b"), connections);
    Scenario { streams, repeated: true, ..scenario }
}

const fn grpc(
    key: &'static str,
    title: &'static str,
    connections: usize,
    streams: usize,
    streaming: bool,
) -> Scenario {
    let work = Work::Grpc { streaming };
    let unit = if streaming { "message" } else { "call" };
    let scenario = Scenario::closed(key, title, Front::Grpc, work, connections);
    Scenario { streams, unit, ..scenario }
}
