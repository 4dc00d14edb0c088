//! Listener filters, filter chains and original destinations on the simulated network: whatever the
//! pieces the bytes come in, the right chain gets them, and all of them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_runtime::sim::{Faults, Network};
use ringway_runtime::{Chunk, ConnectOptions, SockAddr, Stream, connect, sleep, spawn};

use super::client::Rng;
use super::{LIMIT, address, plan, runtime, seeds, shard};
use crate::observe::stats::Registry;
use crate::shard::Shard;

/// A chain that says its name and closes.
fn says(name: &str, asks: &str) -> String {
    format!(
        r#"
    - name: {name}
      filter_chain_match: {{ {asks} }}
      filters:
      - name: d
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config
          response: {{ inline_string: {name} }}"#
    )
}

fn filter(name: &str, kind: &str, more: &str) -> String {
    format!(
        r#"
    - name: {name}
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{kind}
        {more}"#
    )
}

fn listener(name: &str, address: &str, port: u16, more: &str) -> String {
    format!(
        r#"
  - name: {name}
    address: {{ socket_address: {{ address: {address}, port_value: {port} }} }}
    {more}"#
    )
}

/// 8080 tells its chain; 8081 gives back what it gets; 15001 hands on to where connections went.
fn bootstrap() -> String {
    let inspectors =
        filter("proxy_protocol", "ProxyProtocol", "allow_requests_without_proxy_protocol: true")
            + &filter("tls_inspector", "TlsInspector", "")
            + &filter("http_inspector", "HttpInspector", "");
    let chains = says("sni", "server_names: [a.example.com]")
        + &says("suffix", "server_names: ['*.example.com']")
        + &says("tls", "transport_protocol: tls")
        + &says("h1", "application_protocols: [http/1.1]")
        + &says("h2c", "application_protocols: [h2c]")
        + &says("source", "source_prefix_ranges: [{ address_prefix: 192.0.2.0, prefix_len: 24 }]")
        + &says("rest", "");
    let mut text = "static_resources:\n  listeners:".to_owned();
    text += &listener("tells", "10.0.0.1", 8080, "listener_filters:");
    text += &inspectors;
    text += "\n    filter_chains:";
    text += &chains;
    text += &listener("echoes", "10.0.0.1", 8081, "listener_filters:");
    text += &inspectors;
    text += r#"
    filter_chains:
    - filters:
      - name: e
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"#;
    text +=
        &listener("virtual", "10.0.0.1", 15001, "use_original_dst: true\n    listener_filters:");
    text += &filter("original_dst", "OriginalDst", "");
    text += "\n    filter_chains:";
    text += &says("own", "");
    for (name, address, port) in [("one", "10.9.9.9", 80), ("any", "0.0.0.0", 81)] {
        text += &listener(name, address, port, "bind_to_port: false\n    filter_chains:");
        text += &says(name, "");
    }
    text
}

/// The records of a ClientHello, each of `piece` bytes at the most.
fn hello(sni: Option<&str>, piece: usize) -> Vec<u8> {
    let block16 = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
    if let Some(name) = sni {
        let entry = [&[0][..], &block16(name.as_bytes())].concat();
        extensions.extend([&[0, 0][..], &block16(&block16(&entry))].concat());
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(block16(&extensions));
    let mut message = vec![1, 0];
    message.extend(block16(&body));
    let record = |part: &[u8]| [&[22, 3, 1][..], &block16(part)].concat();
    message.chunks(piece).flat_map(record).collect()
}

const PROXY_LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 1000 8080\r\n";

/// What is sent, what of it belongs to the proxy, and the chain it leads to.
fn cases() -> Vec<(Vec<u8>, usize, &'static str)> {
    let plain = |bytes: &[u8], chain| (bytes.to_vec(), 0, chain);
    let behind = |bytes: &[u8], chain| ([PROXY_LINE, bytes].concat(), PROXY_LINE.len(), chain);
    vec![
        plain(&hello(Some("a.example.com"), 1000), "sni"),
        plain(&hello(Some("A.EXAMPLE.com"), 10), "sni"),
        plain(&hello(Some("b.example.com"), 1), "suffix"),
        plain(&hello(Some("example.com"), 1000), "tls"),
        behind(&hello(None, 7), "tls"),
        plain(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "h1"),
        behind(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "h1"),
        plain(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "h2c"),
        plain(b"\0\x01nonsense\r\n", "rest"),
        behind(b"\0\x01nonsense\r\n", "source"),
    ]
}

/// Sends in random pieces and reads to the end.
async fn ask(to: SockAddr, bytes: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    let mut got = Vec::new();
    let Ok(stream) = connect(&to, &ConnectOptions::default()).await else { return got };
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let len = 1 + rng.next() as usize % rest.len();
        let (piece, later) = rest.split_at(len.min(1 + rng.next() as usize % 40));
        stream.write(Chunk::copy_from(piece));
        rest = later;
        if rng.next().is_multiple_of(2) {
            sleep(Duration::from_millis(rng.next() % 20)).await;
        }
    }
    stream.shutdown_write();
    while let Ok(Some(chunk)) = stream.recv().await {
        got.extend_from_slice(&chunk);
    }
    got
}

/// Runs `clients` against a shard with the configuration above; looks for what is left afterwards.
fn against<F: Future<Output = ()> + 'static>(
    seed: u64,
    faults: Faults,
    clients: Vec<F>,
    check: impl FnOnce(&Shard),
) {
    let net = Network::new(seed, faults);
    let (mut proxy, mut far) = (runtime(&net), runtime(&net));
    let mut registry = Registry::new(1);
    let plan = plan(&bootstrap(), &mut registry);
    registry.publish();
    for went in [([10, 9, 9, 9], 80), ([10, 9, 9, 7], 81), ([10, 9, 9, 8], 82)] {
        net.redirect(&SocketAddr::from(went).into(), &address(15001));
    }
    let shard = proxy.enter(|| shard(plan, &mut registry));
    let left = Rc::new(Cell::new(clients.len()));
    for client in clients {
        let left = Rc::clone(&left);
        far.enter(|| {
            spawn(async move {
                client.await;
                left.set(left.get() - 1);
            })
        });
    }
    let mut all = [&mut proxy, &mut far];
    assert!(net.run_until(&mut all, LIMIT, || left.get() == 0), "seed {seed}: a client is stuck");
    // Until connections have noticed that their clients are gone.
    net.run_until(&mut all, Duration::from_secs(60), || false);
    assert_eq!(shard.check_invariants(), Ok(()), "seed {seed}");
    check(&shard);
    for listener in &*shard.listeners.borrow() {
        let stats = &listener.plan.stats;
        for gauge in [stats.downstream_cx_active(), stats.downstream_pre_cx_active()] {
            assert_eq!(shard.stats.gauge_value(gauge), 0, "seed {seed}");
        }
        listener.stop();
    }
    let [proxy, _] = &mut all;
    proxy.enter(|| drop(shard));
    net.run_until(&mut all, LIMIT, || false);
    if let Err(left) = net.check_invariants() {
        panic!("seed {seed}: {left}");
    }
}

#[test]
fn the_right_chain_takes_it_whatever_the_pieces() {
    for seed in seeds(25) {
        let answers = Rc::new(RefCell::new(Vec::new()));
        let clients = cases().into_iter().enumerate().map(|(number, (bytes, _, chain))| {
            let answers = Rc::clone(&answers);
            async move {
                let mut rng = Rng(seed ^ number as u64);
                let got = ask(address(8080), bytes, &mut rng).await;
                answers.borrow_mut().push((number, chain, got));
            }
        });
        against(seed, Faults::default(), clients.collect(), |_| {});
        for (number, chain, got) in answers.borrow().iter() {
            // The chain may close before it has read what the client sent, and answer nothing then.
            let said = chain.as_bytes().starts_with(got);
            assert!(said, "seed {seed}, case {number}: {chain}, not {}", got.escape_ascii());
        }
        let complete =
            answers.borrow().iter().filter(|(_, chain, got)| chain.as_bytes() == got).count();
        assert!(complete >= cases().len() / 2, "seed {seed}: only {complete} answers are whole");
    }
}

#[test]
fn what_filters_have_looked_at_is_there_for_the_chain() {
    for seed in seeds(25) {
        let clients =
            cases().into_iter().enumerate().map(|(number, (bytes, skip, _))| async move {
                let mut rng = Rng(seed ^ number as u64);
                let got = ask(address(8081), bytes.clone(), &mut rng).await;
                assert_eq!(got, bytes[skip..], "seed {seed}, case {number}");
            });
        against(
            seed,
            Faults { reset: 0.0, refuse: 0.0, ..Faults::default() },
            clients.collect(),
            |_| {},
        );
    }
}

#[test]
fn redirected_connections_reach_the_listener_of_their_destination() {
    let went = [([10, 9, 9, 9], 80, "one"), ([10, 9, 9, 7], 81, "any"), ([10, 9, 9, 8], 82, "own")];
    let clients = went.into_iter().map(|(ip, port, name)| async move {
        let to = SocketAddr::from((ip, port));
        let got = ask(to.into(), Vec::new(), &mut Rng(1)).await;
        assert_eq!(got, name.as_bytes());
    });
    against(1, Faults::none(), clients.collect(), |_| {});
}

async fn silent(bytes: &'static [u8]) {
    let stream: Stream = connect(&address(8080), &ConnectOptions::default()).await.expect("up");
    stream.write(Chunk::from_static(bytes));
    let began = ringway_runtime::now();
    assert!(!matches!(stream.recv().await, Ok(Some(_))), "nobody answers half a line");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(14) && waited < Duration::from_secs(16), "{waited:?}");
}

#[test]
fn a_connection_that_says_too_little_is_closed() {
    let clients = vec![silent(b"GET / HTTP"), silent(b""), silent(b"PROXY TCP4 ")];
    against(2, Faults::none(), clients, |shard| {
        let listeners = shard.listeners.borrow();
        let stats = &listeners.first().expect("a listener").plan.stats;
        assert_eq!(shard.stats.counter_value(stats.downstream_pre_cx_timeout()), 3);
        assert_eq!(shard.stats.counter_value(stats.downstream_cx_total()), 0);
    });
}

#[test]
fn a_client_that_leaves_early_is_counted() {
    let leave = async |bytes: &'static [u8]| {
        let stream = connect(&address(8080), &ConnectOptions::default()).await.expect("up");
        stream.write(Chunk::from_static(bytes));
        let _sent = stream.flush().await;
        sleep(Duration::from_secs(1)).await;
    };
    let clients = vec![leave(b"GET"), leave(b"")];
    against(3, Faults::none(), clients, |shard| {
        let listeners = shard.listeners.borrow();
        let stats = &listeners.first().expect("a listener").plan.stats;
        assert_eq!(shard.stats.counter_value(stats.downstream_listener_filter_remote_close()), 2);
    });
}
