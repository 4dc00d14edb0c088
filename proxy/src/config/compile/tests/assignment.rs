//! Assignments against the hosts there are.

use std::sync::Arc;

use proptest::prelude::*;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as api;

use super::dynamic::{cluster, compiler, message};
use crate::config::compile::{Assignment, Compiler, reasons};
use crate::plan::cluster::EdsHealth;
use crate::plan::{Address, Cluster, Host, HostSet};

const EDS: &str = "{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}";

struct Bench {
    compiler: Compiler,
    cluster: Arc<Cluster>,
}

impl Bench {
    fn new() -> Self {
        let mut compiler = compiler();
        let cluster = cluster(&mut compiler, EDS).unwrap();
        Self { compiler, cluster }
    }

    fn assign(
        &mut self,
        config: &api::ClusterLoadAssignment,
        old: &Arc<HostSet>,
    ) -> Result<Assignment, String> {
        let taken = self.compiler.assignment(&self.cluster, config, old);
        taken.map(|taken| taken.value).map_err(|found| reasons(&found))
    }

    fn text(&mut self, yaml: &str, old: &Arc<HostSet>) -> Result<Assignment, String> {
        self.assign(&message(yaml), old)
    }
}

/// An endpoint as YAML.
fn endpoint(port: u16, more: &str) -> String {
    format!(
        "{{endpoint: {{address: {{socket_address: {{address: 10.0.0.1, port_value: {port}}}}}}}\
         {more}}}"
    )
}

fn assignment(endpoints: &[String], more: &str) -> String {
    format!(
        "{{cluster_name: c, endpoints: [{{locality: {{zone: z}}, lb_endpoints: [{}]}}]{more}}}",
        endpoints.join(", ")
    )
}

fn ports(set: &HostSet) -> Vec<u16> {
    let port = |host: &Arc<Host>| match &host.address {
        Address::Ip(ip) => ip.port(),
        Address::Pipe { .. } | Address::Internal { .. } => 0,
    };
    set.hosts.iter().map(port).collect()
}

#[test]
fn hosts_that_stay_are_the_same() {
    let mut bench = Bench::new();
    let none = Arc::clone(&bench.cluster.hosts);
    let two = assignment(&[endpoint(1, ""), endpoint(2, "")], "");
    let first = bench.text(&two, &none).unwrap().hosts;
    assert_eq!((ports(&first), first.version), (vec![1, 2], 1));
    let again = bench.text(&two, &first).unwrap().hosts;
    assert!(Arc::ptr_eq(&first, &again), "nothing has changed");
    let heavy = endpoint(2, ", load_balancing_weight: 5, health_status: DRAINING");
    let second = bench.text(&assignment(&[endpoint(3, ""), heavy], ""), &first).unwrap().hosts;
    assert_eq!((ports(&second), second.version), (vec![3, 2], 2));
    let (before, after) = (&first.hosts[1], &second.hosts[1]);
    assert!(!Arc::ptr_eq(before, after) && before.is_same(after));
    assert_eq!((after.info.weight, after.info.eds_health), (5, EdsHealth::Draining));
    // Another name is another host: its connections would say so.
    let named = "{endpoint: {hostname: h, address: {socket_address: {address: 10.0.0.1, \
                 port_value: 2}}}}";
    let third = bench.text(&assignment(&[named.to_owned()], ""), &second).unwrap().hosts;
    assert!(!third.hosts[0].is_same(after));
    let empty = bench.text("{cluster_name: c}", &third).unwrap().hosts;
    assert!(empty.hosts.is_empty() && empty.version == 4);
}

#[test]
fn the_first_of_two_with_one_address_counts() {
    let mut bench = Bench::new();
    let none = Arc::default();
    let twice = [endpoint(1, ""), endpoint(1, ", load_balancing_weight: 9"), endpoint(2, "")];
    let set = bench.text(&assignment(&twice, ""), &none).unwrap().hosts;
    assert_eq!((ports(&set), set.hosts[0].info.weight), (vec![1, 2], 1));
}

#[test]
fn endpoints_by_name_and_policies() {
    let mut bench = Bench::new();
    let none = Arc::default();
    let named = ", named_endpoints: {a: {address: {socket_address: {address: 10.0.0.1, \
                 port_value: 7}}}}, policy: {overprovisioning_factor: 200}";
    let text = assignment(&["{endpoint_name: a}".to_owned()], named);
    let found = bench.text(&text, &none).unwrap();
    assert_eq!((ports(&found.hosts), found.hosts.overprovisioning_percent), (vec![7], 200));
    let missing = assignment(&["{endpoint_name: b}".to_owned()], named);
    let error = bench.text(&missing, &none).unwrap_err();
    let at = "endpoints[0].lb_endpoints[0].endpoint_name";
    assert_eq!(error, format!("{at}: there is no endpoint 'b' in named_endpoints"));
}

#[test]
fn requests_to_drop_and_how_long_it_holds() {
    let mut bench = Bench::new();
    let none = Arc::default();
    let mut drop = |policy: &str| {
        let more = format!(", policy: {{{policy}}}");
        let found = bench.text(&assignment(&[endpoint(1, "")], &more), &none)?;
        let drop = found.hosts.drop.as_ref().map(|drop| (drop.category.to_string(), drop.ratio));
        Ok::<_, String>((drop, found.stale_after))
    };
    let dropped = drop(
        "drop_overloads: [{category: lb, drop_percentage: {numerator: 25, denominator: \
         TEN_THOUSAND}}], endpoint_stale_after: 3s",
    );
    let expected = Some(("lb".to_owned(), 0.0025));
    assert_eq!(dropped, Ok((expected, Some(std::time::Duration::from_secs(3)))));
    assert_eq!(drop("drop_overloads: [{category: lb}]"), Ok((None, None)));
    let many = drop("drop_overloads: [{category: a}, {category: b}]").unwrap_err();
    let text = "Cluster drop_overloads config has 2 categories. Envoy only support one.";
    assert_eq!(many, format!("policy.drop_overloads: {text}"));
    let more = drop("drop_overloads: [{category: a, drop_percentage: {numerator: 101}}]");
    let text = "Cluster drop_overloads config is invalid. drop_ratio=1.01(Numerator 101 / \
                Denominator 100). The valid range is 0~1.";
    let at = "policy.drop_overloads[0].drop_percentage";
    assert_eq!(more.unwrap_err(), format!("{at}: {text}"));
}

#[test]
fn weights_of_localities() {
    let mut bench = Bench::new();
    let none = Arc::default();
    let locality = |zone: &str, port, more: &str| {
        format!("{{locality: {{zone: {zone}}}, lb_endpoints: [{}]{more}}}", endpoint(port, ""))
    };
    let mut of = |list: &[String]| {
        let text = format!("{{cluster_name: c, endpoints: [{}]}}", list.join(", "));
        bench.text(&text, &none).map(|found| found.hosts)
    };
    let weighs = |n: u32| format!(", load_balancing_weight: {n}");
    let set = of(&[
        locality("a", 1, &weighs(3)),
        locality("b", 2, ""),
        locality("a", 3, &format!("{}, priority: 1", weighs(7))),
        locality("a", 4, &weighs(4)),
    ]);
    let set = set.unwrap();
    let weights = set.localities.as_ref().expect("two have one");
    let place = |zone: &str| (String::new(), zone.to_owned(), String::new());
    let found = [(0, "a"), (1, "a"), (0, "b"), (1, "b")];
    assert_eq!(found.map(|(level, zone)| weights.of(level, &place(zone))), [4, 7, 0, 0]);
    assert!(of(&[locality("a", 1, "")]).unwrap().localities.is_none());
    let error = of(&[locality("a", 1, &weighs(u32::MAX)), locality("b", 2, &weighs(1))]);
    let text = "The sum of weights of all localities at the same priority exceeds 4294967295";
    assert_eq!(error.unwrap_err(), format!("endpoints: {text}"));
}

#[test]
fn assignments_that_are_none_of_ours() {
    let mut bench = Bench::new();
    let none = Arc::default();
    let error = bench.text("{cluster_name: other}", &none).unwrap_err();
    assert_eq!(error, "cluster_name: Unexpected EDS cluster (expecting c): other");
    let name = "{endpoint: {address: {socket_address: {address: a.example, port_value: 1}}}}";
    let error = bench.text(&assignment(&[name.to_owned()], ""), &none).unwrap_err();
    assert!(error.contains("malformed IP address: a.example"), "{error}");
}

/// Port, weight, health status and priority of an endpoint.
type Endpoint = (u16, u32, i32, u32);

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    proptest::collection::vec((1..20_u16, 1..4_u32, 0..3_i32, 0..2_u32), 0..24)
}

fn config(endpoints: &[Endpoint]) -> api::ClusterLoadAssignment {
    let one = |(port, weight, health, priority): &Endpoint| {
        let address = core::SocketAddress {
            address: "10.0.0.1".to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(*port))),
            ..Default::default()
        };
        let address = core::address::Address::SocketAddress(address);
        let endpoint = api::Endpoint {
            address: Some(core::Address { address: Some(address) }),
            ..Default::default()
        };
        let endpoint = api::LbEndpoint {
            health_status: *health,
            load_balancing_weight: Some(*weight),
            host_identifier: Some(api::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        };
        let lb_endpoints = vec![endpoint];
        api::LocalityLbEndpoints { lb_endpoints, priority: *priority, ..Default::default() }
    };
    api::ClusterLoadAssignment {
        cluster_name: "c".to_owned(),
        endpoints: endpoints.iter().map(one).collect(),
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever comes after whatever: the set is what the assignment says, hosts of an address
    /// that stays share their state, and an equal assignment changes nothing.
    #[test]
    fn state_stays_with_the_address(steps in proptest::collection::vec(endpoints(), 1..6)) {
        let mut bench = Bench::new();
        let mut old = Arc::clone(&bench.cluster.hosts);
        for step in steps {
            let config = config(&step);
            let new = bench.assign(&config, &old).unwrap().hosts;
            let mut wanted: Vec<Endpoint> = Vec::new();
            for endpoint in step {
                if wanted.iter().all(|known| known.0 != endpoint.0) {
                    wanted.push(endpoint);
                }
            }
            prop_assert_eq!(new.hosts.len(), wanted.len());
            for (host, (port, weight, _, priority)) in new.hosts.iter().zip(&wanted) {
                let address = Address::Ip(([10, 0, 0, 1], *port).into());
                prop_assert_eq!(&host.address, &address);
                prop_assert_eq!((host.info.weight, host.info.priority), (*weight, *priority));
                match old.hosts.iter().find(|host| host.address == address) {
                    Some(before) => {
                        prop_assert!(before.is_same(host));
                        prop_assert_eq!(before.info == host.info, Arc::ptr_eq(before, host));
                    }
                    None => prop_assert!(old.hosts.iter().all(|other| !other.is_same(host))),
                }
            }
            let again = bench.assign(&config, &new).unwrap().hosts;
            prop_assert!(Arc::ptr_eq(&again, &new));
            old = new;
        }
    }
}
