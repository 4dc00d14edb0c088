//! `xdstp://` names, limits.

use super::*;

#[test]
fn a_name_is_asked_for_and_found_in_canonical_form() {
    let mut options = mux(Protocol::Delta).options;
    options.context_params = vec![("zone".into(), "z".into())];
    let mut mux = Mux::new(options);
    mux.connected();
    let name = "xdstp://cp/envoy.config.cluster.v3.Cluster/a?k=1";
    let canonical = "xdstp://cp/envoy.config.cluster.v3.Cluster/a?k=1&zone=z";
    mux.subscribe(CLUSTER, &names(&[name])).unwrap();
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, [canonical]);
    let sent = "xdstp://cp/envoy.config.cluster.v3.Cluster/a?zone=z&k=1";
    let message = delta("1", vec![resource("1", sent, Some(cluster("a", "x")))], &[]);
    assert_eq!(changed(&feed(&mut mux, &message)), [canonical]);
    assert_eq!(&*mux.canonical_name(name).unwrap(), canonical);
    mux.unsubscribe(CLUSTER, &names(&[name]));
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_unsubscribe, [canonical]);
}

#[test]
fn a_collection_is_refused_and_nothing_of_the_call_is_subscribed_to() {
    let mut mux = connected(Protocol::Delta);
    let list = names(&["a", "xdstp://cp/envoy.config.cluster.v3.Cluster/x/*"]);
    let refused = mux.subscribe(CLUSTER, &list).unwrap_err();
    assert!(refused.to_string().contains("collections"), "{refused}");
    assert!(mux.poll_request().is_none());
}

#[test]
fn the_server_cannot_make_us_keep_more_than_the_limits() {
    let mut options = mux(Protocol::Sotw).options;
    options.limits = Limits { resources: 2, name_bytes: 20, types: 1, ..options.limits };
    let mut mux = Mux::new(options);
    mux.connected();
    mux.subscribe_all(CLUSTER).unwrap();
    assert!(mux.subscribe_all(ENDPOINTS).unwrap_err().to_string().contains("at most 1 types"));
    feed(&mut mux, &response("1", "1", vec![cluster("a", "")]));
    let list = ["a", "b", "c"].map(|name| cluster(name, "")).to_vec();
    let (update, answer) = feed_rejecting(&mut mux, &response("2", "2", list), &[]);
    assert!(update.changed.is_empty() && update.removed.is_empty());
    assert!(matches!(answer, Answer::Nack(text) if text.contains("at most 2 are taken")));
    let long = "x".repeat(21);
    let list = vec![cluster("a", ""), cluster(&long, "")];
    let (update, answer) = feed_rejecting(&mut mux, &response("2", "2", list), &[]);
    assert_eq!((update.unchanged, update.changed.len()), (1, 0));
    assert!(matches!(answer, Answer::Nack(text) if text.contains("a name of 21 bytes")));
    let bytes = response(&long, "1", vec![]).encode_to_vec();
    assert!(mux.received(&bytes, NOW).unwrap_err().to_string().contains("a version of 21"));
    assert!(mux.subscribe(CLUSTER, &[long.into()]).is_err());
}
