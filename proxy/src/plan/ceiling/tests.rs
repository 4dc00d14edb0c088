use super::*;
use crate::observe::stats::Registry;

const NAME: &str = "envoy.resource_monitors.global_downstream_max_connections";

#[test]
fn a_monitor_does_not_count_exempt_ones() {
    let mut registry = Registry::new(1);
    let stats = registry.writer(0).expect("page");
    let monitor = ResourceMonitorStats::new(&mut registry, NAME);
    let ceiling = Arc::new(Ceiling::monitored(2, monitor.clone()));
    let exempt = ceiling.enter(true, &stats).expect("exempt");
    let first = ceiling.enter(false, &stats).expect("one of two");
    let _second = ceiling.enter(false, &stats).expect("two of two");
    assert!(ceiling.enter(false, &stats).is_none());
    assert!(ceiling.enter(true, &stats).is_some());
    assert_eq!(stats.counter_value(monitor.failed_updates()), 1);
    drop(exempt);
    assert!(ceiling.enter(false, &stats).is_none());
    drop(first);
    // The runtime has no say.
    ceiling.set_runtime(0);
    assert!(ceiling.enter(false, &stats).is_some());
}

#[test]
fn the_runtimes_limit_counts_all() {
    let stats = ShardStats::detached();
    let ceiling = Arc::new(Ceiling::default());
    let first = ceiling.enter(false, &stats).expect("no limit");
    ceiling.set_runtime(2);
    let _exempt = ceiling.enter(true, &stats).expect("exempt");
    assert!(ceiling.enter(false, &stats).is_none());
    let _more = ceiling.enter(true, &stats).expect("exempt");
    drop(first);
    assert!(ceiling.enter(false, &stats).is_none());
    ceiling.set_runtime(u64::MAX);
    assert!(ceiling.enter(false, &stats).is_some());
}
