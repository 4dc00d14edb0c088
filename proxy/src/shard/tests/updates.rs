//! Updates of everything under traffic: no request is lost or goes astray, connections stay where
//! nothing changed for them, what is replaced drains, and nothing is left over. Orders at random
//! are in [`super::xds`].

use std::time::Duration;

use ringway_runtime::sim::Faults;

use super::world::traffic::{self, Habits};
use super::world::{DRAIN, Log, World};
use super::*;
use crate::control::message::DrainStrategy;

const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

const GRADUAL: DrainStrategy = DrainStrategy::Gradual;

/// Delays and splits, and no loss: what is lost then is our doing.
fn calm() -> Faults {
    Faults { reset: 0.0, refuse: 0.0, ..Faults::default() }
}

/// A cluster of one server.
fn of_port(name: &str, port: u16, more: &str) -> String {
    format!(
        "name: {name}
connect_timeout: 2s
{more}
load_assignment:
  cluster_name: {name}
  endpoints:
  - lb_endpoints:
    - endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.1, port_value: {port} }} }} }}
"
    )
}

/// A cluster whose hosts come by EDS.
fn by_eds(name: &str, more: &str) -> String {
    format!(
        "name: {name}\nconnect_timeout: 2s\ntype: EDS\n{more}\n\
         eds_cluster_config: {{ eds_config: {{ ads: {{}} }} }}\n"
    )
}

const HTTP2: &str = "http2_protocol_options: { max_concurrent_streams: 3 }";

/// The hosts of a cluster: port and more about each.
fn hosts(cluster: &str, hosts: &[(u16, &str)]) -> String {
    let mut text = format!("cluster_name: {cluster}\nendpoints:\n- lb_endpoints:\n");
    for (port, more) in hosts {
        text += &format!(
            "  - endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.1, port_value: {port} \
             }} }} }}\n    {more}\n"
        );
    }
    text
}

/// A route table: each host and its cluster.
fn table(name: &str, hosts: &[(&str, &str)]) -> String {
    let mut text = format!("name: {name}\nvirtual_hosts:\n");
    for (host, cluster) in hosts {
        text += &format!(
            "- name: {host}\n  domains: [{host}]\n  routes:\n  - match: {{ prefix: / }}\n    \
             route: {{ cluster: {cluster}, timeout: 20s }}\n"
        );
    }
    text
}

/// A filter chain with a connection manager whose routes come by RDS.
fn chain(name: &str, matches: &str, table: &str) -> String {
    format!(
        r#"- name: {name}
  filter_chain_match: {{ {matches} }}
  filters:
  - name: h
    typed_config:
      "@type": "type.googleapis.com/{HTTP_MANAGER}"
      stat_prefix: {name}
      drain_timeout: 0.2s
      delayed_close_timeout: 0.2s
      rds: {{ config_source: {{ ads: {{}} }}, route_config_name: {table} }}
      http_filters:
      - name: r
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#
    )
}

/// A listener that tells HTTP/2 from the rest.
fn listener(name: &str, port: u16, more: &str, chains: &[String]) -> String {
    format!(
        r#"name: {name}
address: {{ socket_address: {{ address: 10.0.0.1, port_value: {port} }} }}
{more}
listener_filters:
- name: i
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector
filter_chains:
{}"#,
        chains.concat()
    )
}

fn tcp_listener(name: &str, port: u16, cluster: &str) -> String {
    format!(
        r#"name: {name}
address: {{ socket_address: {{ address: 10.0.0.1, port_value: {port} }} }}
filter_chains:
- filters:
  - name: t
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: {name}
      cluster: {cluster}
"#
    )
}

const H2C: &str = "application_protocols: [h2c]";

/// One listener of one chain for all, and its table.
fn plain(more: &str) -> String {
    listener("main", PROXY, more, &[chain("all", "", "main")])
}

impl World {
    /// From now on requests of `host` are answered by these.
    fn allow(&self, host: &str, by: &[&str]) {
        self.log.set(self.net.now(), host, by);
    }

    /// Starts clients that ask for `hosts` all the time, three of each protocol.
    fn ask_for(&mut self, hosts: &[&str], seed: u64) {
        for number in 0..3 {
            let (habits, seed) = (Habits::busy(address(PROXY), hosts), seed * 10 + number);
            self.client(traffic::http1(Rc::clone(&self.log), habits.clone(), seed));
            self.client(traffic::http2(Rc::clone(&self.log), habits, seed));
        }
    }
}

fn all_answered_by(log: &Log, host: &str, by: &[&str]) {
    let answered = log.answered(host);
    let known = |by: &&str| answered.contains_key(*by);
    assert!(answered.len() == by.len() && by.iter().all(known), "{answered:?}");
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn endpoints_change_under_traffic() {
    for (seed, http2) in seeds(3).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = World::new(seed, calm(), GRADUAL);
        for port in [9001, 9002, 9003] {
            world.serve(port, http2);
        }
        let more = if http2 { HTTP2 } else { "" };
        let step = world.step().cluster(&by_eds("up", more));
        let step = step.endpoints(&hosts("up", &[(9001, ""), (9002, "")])).listener(&plain(""));
        step.routes(&table("main", &[("a", "up")])).apply();
        world.allow("a", &["9001", "9002"]);
        world.ask_for(&["a"], seed);
        world.run_for(SECOND);
        all_answered_by(&world.log, "a", &["9001", "9002"]);
        // One goes, one comes, one has another weight.
        let next = hosts("up", &[(9002, "load_balancing_weight: 2"), (9003, "")]);
        world.step().endpoints(&next).apply();
        world.allow("a", &["9002", "9003"]);
        world.run_for(SECOND);
        world.log.check();
        world.log.forget();
        world.run_for(SECOND);
        all_answered_by(&world.log, "a", &["9002", "9003"]);
        assert_eq!(world.log.counts().1, 0, "no client had to connect again");
        // Its health says that one is not to be used; then nobody is left.
        let sick = hosts("up", &[(9002, "health_status: UNHEALTHY"), (9003, "")]);
        world.step().endpoints(&sick).apply();
        world.allow("a", &["9003"]);
        world.run_for(SECOND);
        world.step().endpoints(&hosts("up", &[(9003, "")])).apply();
        world.run_for(SECOND);
        world.step().endpoints("cluster_name: up").apply();
        world.allow("a", &["-503"]);
        world.run_for(SECOND);
        world.log.check();
        let cluster = world.shard.upstreams.by_name(b"up").expect("the cluster");
        let active = cluster.plan().stats.upstream_cx_active();
        assert_eq!(world.shard.stats.gauge_value(active), 0, "no connection is kept");
        world.finish();
    }
}

#[test]
fn routes_and_clusters_change_under_traffic() {
    for seed in seeds(4) {
        let mut world = World::new(seed, calm(), GRADUAL);
        world.serve(9001, false);
        world.serve(9002, seed % 2 == 1);
        let (one, other) = (of_port("one", 9001, ""), if seed % 2 == 1 { HTTP2 } else { "" });
        let step = world.step().cluster(&one).listener(&plain(""));
        step.routes(&table("main", &[("a", "one"), ("b", "one")])).apply();
        for host in ["a", "b"] {
            world.allow(host, &["9001"]);
        }
        world.ask_for(&["a", "b"], seed);
        world.run_for(SECOND);
        // Another cluster and the routes to it, in one go; the old one goes with them.
        let step = world.step().cluster(&of_port("two", 9002, other));
        step.routes(&table("main", &[("a", "two"), ("b", "two")])).without_cluster("one").apply();
        for host in ["a", "b"] {
            world.allow(host, &["9002"]);
        }
        world.run_for(SECOND);
        // A host without a route; the cluster is replaced by one that leads elsewhere.
        world.step().routes(&table("main", &[("a", "two")])).apply();
        world.allow("b", &["-404"]);
        world.run_for(SECOND);
        world.step().cluster(&of_port("two", 9001, "")).apply();
        world.allow("a", &["9001"]);
        world.run_for(SECOND);
        // A route whose cluster is gone says so, as in Envoy.
        world.step().without_cluster("two").apply();
        world.allow("a", &["-503"]);
        world.run_for(SECOND);
        assert!(world.log.counts().0 > 200, "{:?}", world.log.counts());
        assert_eq!((world.log.counts().1, world.log.raced()), (6, 0), "connections stay");
        world.finish();
    }
}

#[test]
fn chains_that_are_the_same_keep_their_connections() {
    for seed in seeds(4) {
        let mut world = World::new(seed, calm(), GRADUAL);
        world.serve(9001, false);
        world.serve(9002, false);
        let (first, second) = (chain("rest", "", "first"), chain("rest", "", "second"));
        let http2 = chain("h2", H2C, "first");
        let step = world.step().cluster(&of_port("one", 9001, ""));
        let step = step.cluster(&of_port("two", 9002, ""));
        let step = step.listener(&listener("main", PROXY, "", &[http2.clone(), first]));
        step.routes(&table("first", &[("a", "one"), ("h2", "one")])).apply();
        world.allow("a", &["9001"]);
        world.allow("h2", &["9001"]);
        for number in 0..4 {
            let log = || Rc::clone(&world.log);
            let (one, two) = (
                traffic::http1(log(), Habits::busy(address(PROXY), &["a"]), seed + number),
                traffic::http2(log(), Habits::busy(address(PROXY), &["h2"]), seed + number),
            );
            world.client(one);
            world.client(two);
        }
        world.run_for(SECOND);
        assert_eq!(world.log.counts().1, 8);
        world.log.forget();
        let step = world.step().listener(&listener("main", PROXY, "", &[second, http2.clone()]));
        step.routes(&table("second", &[("a", "two")])).apply();
        // Until a connection has left, its requests go the old way.
        world.allow("a", &["9001", "9002"]);
        world.run_for(DRAIN.mul_f64(0.93));
        assert_eq!(world.log.counts().1, 4, "those of the other chain are where they were");
        world.allow("a", &["9002"]);
        world.run_for(DRAIN);
        assert_eq!(world.log.counts().1, 4);
        assert_eq!(world.drained(), [Arc::from("main")]);
        // The other chain goes: its clients have nowhere to go but the rest.
        let rest = chain("rest", "", "second");
        let step = world.step().listener(&listener("main", PROXY, "", &[rest]));
        step.routes(&table("second", &[("a", "two"), ("h2", "two")])).apply();
        world.allow("h2", &["9001", "9002"]);
        world.run_for(DRAIN);
        world.allow("h2", &["9002"]);
        world.run_for(SECOND);
        assert!(world.log.counts().1 >= 8, "{:?}", world.log.counts());
        world.finish();
    }
}

#[test]
fn a_listener_that_changes_drains_and_loses_nothing() {
    for (seed, strategy) in
        seeds(2).flat_map(|seed| [(seed, GRADUAL), (seed, DrainStrategy::Immediate)])
    {
        let mut world = World::new(seed, calm(), strategy);
        world.serve(9001, false);
        let step = world.step().cluster(&of_port("one", 9001, "")).listener(&plain(""));
        step.routes(&table("main", &[("a", "one")])).apply();
        world.allow("a", &["9001"]);
        world.ask_for(&["a"], seed);
        world.run_for(SECOND);
        world.log.forget();
        // Something other than its chains; twice, while the first still drains.
        world.step().listener(&plain("per_connection_buffer_limit_bytes: 8192")).apply();
        world.run_for(SECOND / 4);
        let opened = world.log.counts().1;
        let all = if strategy == GRADUAL { 0..4 } else { 6..7 };
        assert!(all.contains(&opened), "{opened} connections in the first moments");
        world.run_for(DRAIN / 2);
        world.step().listener(&plain("per_connection_buffer_limit_bytes: 4096")).apply();
        world.run_for(2 * DRAIN);
        world.log.check();
        assert_eq!(world.drained().len(), 2);
        // Removed: who comes finds nobody, who is there leaves.
        world.step().without_listener("main").apply();
        world.allow("a", &["9001", "no connection: Connection refused (os error 111)"]);
        world.run_for(DRAIN + SECOND);
        world.log.check();
        world.log.forget();
        world.run_for(SECOND);
        assert!(world.log.answered("a").keys().all(|by| by.starts_with("no connection")));
        // Its place is free.
        world.step().listener(&plain("")).apply();
        world.run_for(SECOND);
        world.log.check();
        assert!(world.log.answered("a").contains_key("9001"));
        world.finish();
    }
}

#[test]
fn what_is_still_there_at_the_end_of_a_drain_is_closed() {
    for seed in seeds(2) {
        let mut world = World::new(seed, calm(), GRADUAL);
        world.serve(9001, false);
        world.serve_tcp(9005);
        world.serve_tcp(9006);
        let step = world.step().cluster(&of_port("one", 9001, "")).listener(&plain(""));
        let step = step.routes(&table("main", &[("a", "one"), ("b", "one")]));
        let step = step.cluster(&of_port("five", 9005, "")).cluster(&of_port("six", 9006, ""));
        step.listener(&tcp_listener("tcp", 8081, "five")).apply();
        world.allow("tcp", &["9005"]);
        world.allow("tcp end", &[]);
        world.allow("a", &["9001"]);
        // A client that asks once and then says nothing, and one whose answer takes for ever.
        let lazy = Habits { pause: 1000 * DRAIN, ..Habits::busy(address(PROXY), &["a"]) };
        let pauses = Habits { lanes: 1, ..lazy.clone() };
        world.client(traffic::http1(Rc::clone(&world.log), lazy, seed));
        world.client(traffic::http2(Rc::clone(&world.log), pauses, seed));
        world.client(traffic::tcp(Rc::clone(&world.log), address(8081), SECOND));
        world.run_for(SECOND);
        assert_eq!(world.log.counts(), (3, 3));
        let step = world.step().listener(&plain("tcp_backlog_size: 5"));
        step.listener(&tcp_listener("tcp", 8081, "six")).apply();
        world.run_for(DRAIN.mul_f64(0.95));
        // The idle ones have been asked to go; TCP stays to the end.
        let hcm = {
            let listeners = world.shard.listeners.borrow();
            listeners.first().expect("main").manager(0).plan.stats.hcm.clone()
        };
        let active = || world.shard.stats.gauge_value(hcm.downstream_cx_active());
        assert_eq!((active(), world.log.counts().0), (0, 3), "seed {seed}");
        world.allow("tcp", &["9006"]);
        world.allow("tcp end", &["closed"]);
        world.run_for(DRAIN.mul_f64(0.1));
        assert_eq!(world.drained().len(), 2);
        world.run_for(2 * SECOND);
        assert_eq!(world.log.answered("tcp end")["closed"], 1);
        assert_eq!(world.log.answered("tcp")["9006"], 1);
        world.finish();
    }
}

#[test]
fn requests_that_outlast_a_drain_are_cut_and_counted() {
    for (seed, http2) in seeds(3).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut world = World::new(seed, calm(), GRADUAL);
        world.serve(9001, false);
        let step = world.step().cluster(&of_port("one", 9001, "")).listener(&plain(""));
        let for_ever = table("main", &[("a", "one")]).replace("20s", "0s");
        step.routes(&for_ever).apply();
        world.allow("a", &["9001", "nothing on a new connection", "lost: ConnectionLost"]);
        let slow = Habits {
            slow: (2 * DRAIN, 4 * DRAIN),
            lanes: 1,
            ..Habits::busy(address(PROXY), &["a"])
        };
        let log = Rc::clone(&world.log);
        if http2 {
            world.client(traffic::http2(log, slow, seed));
        } else {
            world.client(traffic::http1(log, slow, seed));
        }
        world.run_for(SECOND);
        world.log.stop();
        world.step().without_listener("main").apply();
        world.run_for(DRAIN + SECOND);
        let lost = if http2 { "lost: ConnectionLost" } else { "nothing on a new connection" };
        all_answered_by(&world.log, "a", &[lost]);
        let shard = Rc::clone(&world.shard);
        assert_eq!(shard.check_invariants(), Ok(()), "nothing is left of it");
        drop(shard);
        world.finish();
    }
}
