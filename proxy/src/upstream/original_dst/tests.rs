use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::plan::HostSet;
use crate::plan::cluster::{Discovery, Lb, OriginalDst};
use crate::upstream::LbContext;
use crate::upstream::testing::{Bench, host, run};

fn bench(options: OriginalDst) -> Bench {
    Bench::new(Vec::new(), |cluster| {
        cluster.discovery = Discovery::OriginalDst(options);
        cluster.lb = Lb::ClusterProvided;
    })
}

fn options() -> OriginalDst {
    OriginalDst { header: None, waypoint: false, port: None, cleanup: Duration::from_secs(5) }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn to(port: u16) -> LbContext<'static> {
    LbContext { destination: Some(at(port)), ..LbContext::default() }
}

#[test]
fn a_host_is_made_once_and_told() {
    run(async {
        let bench = bench(options());
        let cluster = bench.cluster();
        let first = cluster.pick(&to(7)).expect("a host");
        let again = cluster.pick(&to(7)).expect("a host");
        assert!(Rc::ptr_eq(&first, &again));
        assert_eq!(&*first.plan().info.hostname, "c127.0.0.1:7");
        assert!(cluster.pick(&LbContext::default()).is_none(), "nowhere to go");
        let told = bench.told.added.borrow();
        assert_eq!(told.len(), 1);
        assert!(Arc::ptr_eq(&told[0], first.plan()));
    });
}

#[test]
fn the_set_of_all_shards_is_taken_over() {
    run(async {
        let bench = bench(options());
        let cluster = bench.cluster();
        let (mine, early) = (cluster.pick(&to(1)).expect("1"), cluster.pick(&to(2)).expect("2"));
        // Another shard was first at port 1, and has been at port 3; of port 2 nobody knows yet.
        let other = host(at(1));
        let set = |hosts| {
            Arc::new(HostSet {
                version: 2,
                hosts,
                overprovisioning_percent: 140,
                ..HostSet::default()
            })
        };
        bench.upstreams.set_hosts(bench.plan.id, set(vec![other.clone(), host(at(3))]));
        let now = cluster.pick(&to(1)).expect("1");
        assert!(!Rc::ptr_eq(&mine, &now) && Arc::ptr_eq(now.plan(), &other));
        assert!(Rc::ptr_eq(&early, &cluster.pick(&to(2)).expect("2")));
        assert_eq!(bench.told.added.borrow().len(), 2, "port 3 is known");
        cluster.pick(&to(3)).expect("3");
        assert_eq!(bench.told.added.borrow().len(), 2);
        // It is unused and goes; to come back is to be made again.
        bench.upstreams.set_hosts(bench.plan.id, set(vec![early.plan().clone()]));
        assert!(Rc::ptr_eq(&early, &cluster.pick(&to(2)).expect("2")));
        assert!(!Arc::ptr_eq(cluster.pick(&to(1)).expect("1").plan(), &other));
        assert_eq!(bench.told.added.borrow().len(), 3);
    });
}

#[test]
fn the_header_goes_before_the_restored_address() {
    run(async {
        let mut with = options();
        with.header = Some("x-to".into());
        with.port = Some(80);
        let bench = bench(with);
        let cluster = bench.cluster();
        let header =
            |value: &'static str| move |name: &str| (name == "x-to").then_some(value.as_bytes());
        let restored = || Some(at(9));
        let found = cluster.destination(header("[::1]:5"), restored);
        assert_eq!(found, Some("[::1]:80".parse().expect("an address")));
        assert_eq!(cluster.destination(header("nonsense"), restored), Some(at(80)));
        let invalid = bench.plan.stats.original_dst_host_invalid();
        assert_eq!(bench.stats.counter_value(invalid), 1);
        assert_eq!(cluster.destination(|_| None, || None), None);
    });
}
