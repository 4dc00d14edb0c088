use super::blocks::ClusterStats;
use super::*;

#[test]
fn shards_are_summed_and_slots_come_back() {
    let mut registry = Registry::new(2);
    let (a, b) = (registry.writer(0).expect("page"), registry.writer(1).expect("page"));
    assert!(registry.writer(0).is_none(), "one writer a page");
    let up = ClusterStats::new(&mut registry, "up");
    a.inc(up.upstream_rq_total());
    b.add(up.upstream_rq_total(), 2);
    a.gauge_add(up.upstream_rq_active(), 1);
    b.gauge_sub(up.upstream_rq_active(), 1);
    registry.publish();
    let merger = registry.merger();
    assert_eq!(merger.view().counter(up.upstream_rq_total()), 3);
    assert_eq!(merger.view().gauge(up.upstream_rq_active()), 0);

    let again = ClusterStats::new(&mut registry, "up");
    assert_eq!(again.upstream_rq_total(), up.upstream_rq_total(), "shared by name");
    registry.sweep();
    assert_eq!(registry.blocks(), 1);
    let slot = up.upstream_rq_total();
    drop((up, again));
    registry.sweep();
    assert_eq!(registry.blocks(), 0);
    let other = ClusterStats::new(&mut registry, "other");
    assert_eq!(other.upstream_rq_total(), slot, "slots are reused");
    assert_eq!(merger.view().counter(slot), 0, "and start at zero");
}
