//! Requests that wait for configuration: they go on with what comes, and leave nothing behind when
//! they do not.

use std::time::Duration;

use ringway_runtime::sim::Faults;
use ringway_runtime::{Chunk, ConnectOptions, Join, connect};

use super::world::{DRAIN, World};
use super::*;
use crate::control::message::{DrainStrategy, Message};
use crate::plan::demand::{Demand, Supply};

const MANAGER: &str = "type.googleapis.com/\
    envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// A listener whose requests wait for what they lack.
fn listener(more: &str) -> String {
    format!(
        r#"name: l
address: {{ socket_address: {{ address: 10.0.0.1, port_value: {PROXY} }} }}
filter_chains:
- filters:
  - name: h
    typed_config:
      "@type": {MANAGER}
      stat_prefix: h
      drain_timeout: 0.2s
      delayed_close_timeout: 0.2s
      rds: {{ config_source: {{ ads: {{}} }}, route_config_name: t }}
      http_filters:
      - name: d
        typed_config:
          "@type": {FILTERS}.on_demand.v3.OnDemand
          odcds: {{ source: {{ ads: {{}} }} }}
{more}
      - name: r
        typed_config: {{ "@type": {FILTERS}.router.v3.Router }}
"#
    )
}

fn cluster(port: u16) -> String {
    format!(
        "name: c\nconnect_timeout: 2s\nload_assignment:\n  cluster_name: c\n  endpoints:\n  \
         - lb_endpoints:\n    - endpoint: {{ address: {{ socket_address: {{ address: 10.0.0.1, \
         port_value: {port} }} }} }}\n"
    )
}

/// Virtual hosts by VHDS; those that have come are given.
fn table(hosts: &str) -> String {
    format!("name: t\nvhds: {{ config_source: {{ ads: {{}} }} }}\nvirtual_hosts: [{hosts}]\n")
}

fn host(name: &str, more: &str) -> String {
    format!(
        "{{ name: {name}, domains: ['{name}'], {more} routes: [{{ match: {{ prefix: / }}, \
         route: {{ cluster_header: x-cluster }} }}] }}"
    )
}

fn world(hosts: &str, filters: &str) -> World {
    let calm = Faults { reset: 0.0, refuse: 0.0, ..Faults::default() };
    let mut world = World::new(1, calm, DrainStrategy::Gradual);
    world.serve(UPSTREAMS[0], false);
    let step = world.step().listener(&listener(filters));
    step.routes(&table(hosts)).apply();
    world
}

/// What the shard has asked for.
fn asked(world: &World) -> Vec<Demand> {
    let told = world.told.borrow();
    let demands = told.iter().filter_map(|message| match message {
        Message::Demand { what, from, .. } => {
            assert_eq!(from.is_some(), matches!(what, Demand::Cluster(_)));
            Some(what.clone())
        }
        _ => None,
    });
    demands.collect()
}

fn supply(world: &mut World, what: &Demand) {
    let shard = Rc::clone(&world.shard);
    world.proxy.enter(|| shard.handle(Message::Supplied(what.clone(), Supply::Here)));
}

/// Sends a request, and answers with what comes until `patience` is over or the proxy closes.
fn ask(world: &mut World, head: &str, body: &str, patience: Duration) -> Join<String> {
    let text = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    ask_with(world, text, patience)
}

fn ask_with(world: &mut World, text: String, patience: Duration) -> Join<String> {
    world.client(async move {
        let to = address(PROXY);
        let stream = connect(&to, &ConnectOptions::default()).await.expect("a connection");
        stream.write(Chunk::copy_from(text.as_bytes()));
        let mut seen = Vec::new();
        let receive = async {
            while let Ok(Some(chunk)) = stream.recv().await {
                seen.extend_from_slice(&chunk);
            }
        };
        _ = ringway_runtime::timeout(patience, receive).await;
        String::from_utf8_lossy(&seen).into_owned()
    })
}

fn finished(world: &mut World, request: Join<String>) -> String {
    world.run_until("an answer", || request.is_finished());
    let answer = Rc::new(RefCell::new(String::new()));
    let out = Rc::clone(&answer);
    let taken = world.client(async move { *out.borrow_mut() = request.await });
    world.run_until("its text", || taken.is_finished());
    answer.take()
}

fn at_rest(world: World) {
    assert_eq!((world.shard.demands.waiting(), world.shard.demands.asked()), (0, 0));
    world.finish();
}

const LONG: Duration = Duration::from_secs(100);

/// A request of the host `a` for the cluster `c`.
const GET: &str = "GET /0/5 HTTP/1.1\r\nhost: A\r\nx-cluster: c\r\nx-number: 1\r\n";
const POST: &str = "POST /0/5 HTTP/1.1\r\nhost: A\r\nx-cluster: c\r\nx-number: 1\r\n";

#[test]
fn requests_wait_for_one_demand_and_go_on_with_what_it_brings() {
    let mut world = world(&host("a", ""), "");
    let requests: Vec<_> =
        (0..5).map(|n| ask(&mut world, [GET, POST][n % 2], "abc", LONG)).collect();
    world.run_for(Duration::from_secs(3));
    assert_eq!(asked(&world), [Demand::Cluster("c".into())]);
    assert_eq!((world.shard.demands.waiting(), world.shard.demands.asked()), (5, 1));
    world.step().cluster(&cluster(UPSTREAMS[0])).apply();
    supply(&mut world, &Demand::Cluster("c".into()));
    for request in requests {
        let answer = finished(&mut world, request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // What is there is not waited for.
    let request = ask(&mut world, GET, "", LONG);
    assert!(finished(&mut world, request).starts_with("HTTP/1.1 200"));
    assert_eq!(asked(&world).len(), 1);
    at_rest(world);
}

#[test]
fn what_does_not_come_is_answered_as_without_the_filter() {
    let mut world = world(&host("a", ""), "");
    for (head, what, status) in [
        (GET, Demand::Cluster("c".into()), "503"),
        (&*GET.replace("host: A", "host: b"), missing_host(&world, "b"), "404"),
    ] {
        let request = ask(&mut world, head, "", LONG);
        world.run_for(Duration::from_secs(1));
        assert_eq!(asked(&world).last(), Some(&what));
        supply(&mut world, &what);
        let answer = finished(&mut world, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    at_rest(world);
}

fn missing_host(world: &World, host: &str) -> Demand {
    let slot = world.plan.listeners[0].needs.routes[0].slot;
    Demand::Host(slot, host.into())
}

#[test]
fn a_request_waits_for_its_host_and_then_for_its_cluster() {
    let mut world = world("", "");
    let request = ask(&mut world, POST, "abc", LONG);
    world.run_for(Duration::from_secs(1));
    // As it was written, in lower case.
    let wanted = missing_host(&world, "a");
    assert_eq!(asked(&world), std::slice::from_ref(&wanted));
    world.step().routes(&table(&host("a", ""))).apply();
    supply(&mut world, &wanted);
    world.run_for(Duration::from_secs(1));
    assert_eq!(asked(&world), [wanted, Demand::Cluster("c".into())]);
    world.step().cluster(&cluster(UPSTREAMS[0])).apply();
    supply(&mut world, &Demand::Cluster("c".into()));
    let answer = finished(&mut world, request);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    at_rest(world);
}

#[test]
fn filters_behind_are_those_of_the_route_that_came() {
    let filters = format!(
        "      - name: m\n        disabled: true\n        typed_config:\n          \"@type\": \
         {FILTERS}.header_mutation.v3.HeaderMutation\n          mutations:\n            \
         response_mutations: [{{ append: {{ header: {{ key: x-was, value: here }} }} }}]\n"
    );
    let woken = format!(
        "typed_per_filter_config: {{ m: {{ '@type': {FILTERS}.header_mutation.v3.\
         HeaderMutationPerRoute, mutations: {{}} }} }},"
    );
    let mut world = world("", &filters);
    world.step().cluster(&cluster(UPSTREAMS[0])).apply();
    let request = ask(&mut world, GET, "", LONG);
    world.run_for(Duration::from_secs(1));
    let wanted = missing_host(&world, "a");
    world.step().routes(&table(&host("a", &woken))).apply();
    supply(&mut world, &wanted);
    let answer = finished(&mut world, request);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-was: here"), "{answer}");
    at_rest(world);
}

#[test]
fn whether_a_request_may_be_upgraded_is_the_new_route_s_to_say() {
    for (more, status) in [("", "403"), (", upgrade_configs: [{ upgrade_type: websocket }]", "200")]
    {
        let mut world = world("", "");
        world.step().cluster(&cluster(UPSTREAMS[0])).apply();
        let head = "GET /0/5 HTTP/1.1\r\nhost: a\r\nx-cluster: c\r\nx-number: 1\r\n\
                    connection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let request = ask_with(&mut world, head.to_owned(), LONG);
        world.run_for(Duration::from_secs(1));
        let wanted = missing_host(&world, "a");
        assert_eq!(asked(&world), std::slice::from_ref(&wanted));
        let host = host("a", "").replace("x-cluster }", &format!("x-cluster{more} }}"));
        world.step().routes(&table(&host)).apply();
        supply(&mut world, &wanted);
        // The upstream knows of no upgrade, and answers as it always does.
        let answer = finished(&mut world, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        at_rest(world);
    }
}

#[test]
fn who_goes_away_leaves_nothing() {
    let mut world = world(&host("a", ""), "");
    for (round, body) in ["", "abc", ""].into_iter().enumerate() {
        let request = ask(&mut world, [GET, POST][round % 2], body, Duration::from_secs(1));
        let told = Rc::clone(&world.told);
        world.run_until("it waits", || asked_count(&told) == round + 1);
        assert_eq!(finished(&mut world, request), "");
        world.run_for(Duration::from_secs(5));
        let left = (world.shard.demands.waiting(), world.shard.demands.asked());
        assert_eq!(left, (0, 0), "{round}");
    }
    // The answer comes when nobody is there any more.
    supply(&mut world, &Demand::Cluster("c".into()));
    world.run_for(DRAIN);
    at_rest(world);
}

fn asked_count(told: &RefCell<Vec<Message>>) -> usize {
    let told = told.borrow();
    told.iter().filter(|message| matches!(message, Message::Demand { .. })).count()
}
