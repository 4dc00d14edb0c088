use super::*;
use crate::observe::stats::{HttpStats, Registry};

/// What the process that goes tells now.
fn told(registry: &mut Registry) -> Vec<ScopeValues> {
    registry.publish();
    let mut all = Vec::new();
    registry.merger().view().export(|values| all.push(values));
    all
}

#[test]
fn gauges_of_the_other_process_follow_it_whatever_shares_their_prefix() {
    let mut there = Registry::new(1);
    let old = there.writer(0).expect("page");
    let old_http = HttpStats::new(&mut there, "ingress");
    let mut here = Registry::new(1);
    let new = here.writer(0).expect("page");
    let new_http = HttpStats::new(&mut here, "ingress");
    here.publish();
    let merger = here.merger();
    let open = new_http.hcm.downstream_cx_active();
    new.gauge_add(open, 5);

    let mut importer = Importer::default();
    old.gauge_add(old_http.hcm.downstream_cx_active(), 3);
    // The router's values have the same prefix and no gauge.
    old.inc(old_http.router.rq_total());
    for shown in [8, 8] {
        told(&mut there).into_iter().for_each(|values| importer.import(&merger, &new, values));
        assert_eq!(merger.view().gauge(open), shown);
    }
    old.gauge_sub(old_http.hcm.downstream_cx_active(), 3);
    told(&mut there).into_iter().for_each(|values| importer.import(&merger, &new, values));
    assert_eq!(merger.view().gauge(open), 5, "what is closed there is told");

    old.gauge_add(old_http.hcm.downstream_cx_active(), 1);
    told(&mut there).into_iter().for_each(|values| importer.import(&merger, &new, values));
    assert_eq!(merger.view().gauge(open), 6);
    assert_eq!(merger.view().counter(new_http.router.rq_total()), 1, "counted once");
    importer.end(&new);
    assert_eq!(merger.view().gauge(open), 5, "it is gone with what was open there");
}
