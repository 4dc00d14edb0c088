//! State of the world.

use super::*;

#[test]
fn a_stream_begins_with_the_node_and_every_type_in_order() {
    let mut mux = mux(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    mux.subscribe(ENDPOINTS, &names(&["a", "b"])).unwrap();
    assert!(mux.poll_request().is_none());
    mux.connected();
    let first = asks(&mut mux).unwrap();
    assert_eq!((first.type_url.as_str(), first.node), (CLUSTER, Some(node())));
    assert!(first.resource_names.is_empty());
    let second = asks(&mut mux).unwrap();
    assert_eq!((second.type_url.as_str(), second.node), (ENDPOINTS, None));
    assert_eq!(second.resource_names, ["a", "b"]);
    assert_eq!(mux.poll_request(), None);
}

#[test]
fn the_node_is_in_every_request_unless_asked_otherwise_and_again_when_it_changes() {
    let mut options = mux(Protocol::Sotw).options;
    options.node_on_first_only = false;
    let mut always = Mux::new(options);
    always.connected();
    always.subscribe_all(CLUSTER).unwrap();
    assert!(asks(&mut always).unwrap().node.is_some());
    always.subscribe(ENDPOINTS, &names(&["a"])).unwrap();
    assert!(asks(&mut always).unwrap().node.is_some());

    let mut once = connected(Protocol::Sotw);
    once.subscribe_all(CLUSTER).unwrap();
    asks(&mut once).unwrap();
    let other = Node { id: "m".into(), ..Node::default() };
    once.set_node(other.encode_to_vec().into());
    assert_eq!(asks(&mut once).unwrap().node, Some(other));
    assert!(once.poll_request().is_none());
}

#[test]
fn an_ack_names_version_and_nonce_and_unchanged_resources_are_not_told_again() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    asks(&mut mux).unwrap();
    let both = response("1", "n1", vec![cluster("a", "x"), cluster("b", "x")]);
    let update = feed(&mut mux, &both);
    assert_eq!(changed(&update), ["a", "b"]);
    assert_eq!(update.control_plane.as_deref(), Some("cp"));
    let ack = asks(&mut mux).unwrap();
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "n1"));
    assert!(ack.error_detail.is_none() && ack.resource_names.is_empty());

    let one = response("2", "n2", vec![cluster("b", "y"), cluster("a", "x")]);
    let update = feed(&mut mux, &one);
    assert_eq!((changed(&update), update.unchanged), (vec!["b"], 1));
    assert_eq!(update.changed[0].body[..], cluster("b", "y").value[..]);
    assert_eq!(&*update.changed[0].version, "2");
}

#[test]
fn a_nack_keeps_the_version_and_what_was_rejected_is_told_again() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    feed(&mut mux, &response("1", "n1", vec![cluster("a", "x"), cluster("b", "x")]));
    while mux.poll_request().is_some() {}

    let bad = response("2", "n2", vec![cluster("a", "y"), cluster("b", "y")]);
    let (_, answer) = feed_rejecting(&mut mux, &bad, &["b"]);
    let text = "Error adding/updating cluster(s) b: bad";
    assert_eq!(answer, Answer::Nack(text.into()));
    let nack = asks(&mut mux).unwrap();
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
    let detail = nack.error_detail.unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (13, text));
    assert_eq!(mux.status()[0].error.as_deref(), Some(text));

    let (update, _) = feed_rejecting(&mut mux, &bad, &["b"]);
    assert_eq!((changed(&update), update.unchanged), (vec!["b"], 1));
    let good = response("3", "n4", vec![cluster("a", "y"), cluster("b", "x")]);
    let update = feed(&mut mux, &good);
    assert!(update.changed.is_empty());
    assert_eq!(&*update.restored[0], "b");
    assert_eq!(mux.status()[0].error, None);
}

#[test]
fn absence_removes_clusters_but_not_endpoints() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    mux.subscribe(ENDPOINTS, &names(&["a", "b"])).unwrap();
    feed(&mut mux, &response("1", "1", vec![cluster("a", "x"), cluster("b", "x")]));
    let update = feed(&mut mux, &response("2", "2", vec![cluster("b", "x")]));
    assert_eq!(removed(&update), ["a"]);
    assert_eq!(removed(&feed(&mut mux, &response("3", "3", vec![]))), ["b"]);
    assert_eq!(mux.status()[0].accepted, 0);

    let endpoints = |list: &[&str]| DiscoveryResponse {
        type_url: ENDPOINTS.into(),
        resources: list.iter().map(|name| assignment(name)).collect(),
        ..response("1", "1", vec![])
    };
    assert_eq!(changed(&feed(&mut mux, &endpoints(&["a", "b"]))), ["a", "b"]);
    let update = feed(&mut mux, &endpoints(&["b", "c"]));
    assert_eq!((update.unchanged, update.ignored), (1, 1));
    assert!(update.removed.is_empty() && update.changed.is_empty());
}

#[test]
fn changes_of_a_subscription_coalesce_and_carry_the_last_nonce() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe(ENDPOINTS, &names(&["a"])).unwrap();
    asks(&mut mux).unwrap();
    let endpoints = DiscoveryResponse { type_url: ENDPOINTS.into(), ..response("1", "n", vec![]) };
    feed(&mut mux, &endpoints);
    asks(&mut mux).unwrap();
    mux.subscribe(ENDPOINTS, &names(&["b"])).unwrap();
    mux.subscribe(ENDPOINTS, &names(&["c"])).unwrap();
    mux.unsubscribe(ENDPOINTS, &names(&["a"]));
    let request = asks(&mut mux).unwrap();
    assert_eq!(request.resource_names.len(), 2);
    assert_eq!((request.version_info.as_str(), request.response_nonce.as_str()), ("1", "n"));
    assert!(mux.poll_request().is_none());
    mux.unsubscribe(ENDPOINTS, &names(&["b", "c"]));
    assert!(asks(&mut mux).unwrap().resource_names.is_empty(), "takes all back");
    mux.connected();
    assert!(mux.poll_request().is_none(), "an empty list would ask for all");
}

#[test]
fn a_name_given_up_and_taken_up_again_is_left_out_once() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe(ENDPOINTS, &names(&["a", "b"])).unwrap();
    asks(&mut mux).unwrap();
    mux.unsubscribe(ENDPOINTS, &names(&["a"]));
    mux.subscribe(ENDPOINTS, &names(&["a"])).unwrap();
    // With the same list as before, no server would send it again.
    assert_eq!(asks(&mut mux).unwrap().resource_names, ["b"]);
    assert_eq!(asks(&mut mux).unwrap().resource_names, ["a", "b"]);
    assert!(mux.poll_request().is_none());
}

#[test]
fn subscriptions_are_counted() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe(ENDPOINTS, &names(&["a", "b"])).unwrap();
    mux.subscribe(ENDPOINTS, &names(&["a"])).unwrap();
    asks(&mut mux).unwrap();
    mux.unsubscribe(ENDPOINTS, &names(&["a"]));
    assert!(mux.poll_request().is_none());
    mux.unsubscribe(ENDPOINTS, &names(&["a", "a", "nobody"]));
    assert_eq!(asks(&mut mux).unwrap().resource_names, ["b"]);
}

#[test]
fn the_wildcard_is_legacy_alone_explicit_with_names_and_can_be_left() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    assert!(asks(&mut mux).unwrap().resource_names.is_empty());
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    assert_eq!(asks(&mut mux).unwrap().resource_names, [WILDCARD, "a"]);
    feed(&mut mux, &response("1", "1", vec![cluster("a", "x"), cluster("b", "x")]));
    asks(&mut mux).unwrap();
    mux.unsubscribe(CLUSTER, &names(&["a"]));
    // Once something was named, an empty list would ask for nothing.
    assert_eq!(asks(&mut mux).unwrap().resource_names, [WILDCARD]);
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    mux.unsubscribe(CLUSTER, &names(&[WILDCARD]));
    assert_eq!(asks(&mut mux).unwrap().resource_names, ["a"]);
    let all = vec![cluster("a", "x"), cluster("b", "y")];
    let update = feed(&mut mux, &response("2", "2", all));
    assert_eq!((update.unchanged, update.ignored), (1, 1));
}

#[test]
fn a_legacy_wildcard_is_taken_back_by_naming_it_first() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    asks(&mut mux).unwrap();
    mux.unsubscribe_all(CLUSTER);
    assert_eq!(asks(&mut mux).unwrap().resource_names, [WILDCARD]);
    assert!(asks(&mut mux).unwrap().resource_names.is_empty());
    assert!(mux.poll_request().is_none());
}

#[test]
fn a_new_stream_says_the_last_version_and_no_nonce() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    feed(&mut mux, &response("1", "n1", vec![cluster("a", "x")]));
    asks(&mut mux).unwrap();
    let late = mux.received(&response("2", "n2", vec![]).encode_to_vec(), NOW).unwrap();
    mux.disconnected();
    assert!(mux.poll_request().is_none());
    mux.connected();
    assert_eq!(mux.answer(late.receipt, Verdict::default()), Answer::Silent);
    let again = asks(&mut mux).unwrap();
    assert_eq!((again.version_info.as_str(), again.response_nonce.as_str()), ("2", ""));
    assert_eq!(again.node, Some(node()));
    assert!(mux.poll_request().is_none());
}

#[test]
fn a_version_of_which_only_a_part_is_here_is_not_claimed_on_a_new_stream() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    feed(&mut mux, &response("1", "1", vec![cluster("a", "x"), cluster("b", "x")]));
    asks(&mut mux).unwrap();
    let half = response("2", "2", vec![cluster("a", "y"), cluster("b", "y")]);
    feed_rejecting(&mut mux, &half, &["b"]);
    assert_eq!(asks(&mut mux).unwrap().version_info, "1");
    mux.connected();
    // Were the server at 1 again, it would send nothing, and a would stay as in 2.
    assert_eq!(asks(&mut mux).unwrap().version_info, "");
}

#[test]
fn a_paused_type_is_held_back_and_others_are_not() {
    let mut mux = connected(Protocol::Sotw);
    mux.pause(ENDPOINTS);
    mux.pause(ENDPOINTS);
    mux.subscribe(ENDPOINTS, &names(&["a"])).unwrap();
    mux.subscribe_all(CLUSTER).unwrap();
    assert_eq!(asks(&mut mux).unwrap().type_url, CLUSTER);
    assert!(mux.poll_request().is_none());
    mux.resume(ENDPOINTS);
    mux.subscribe(ENDPOINTS, &names(&["b"])).unwrap();
    assert!(mux.poll_request().is_none());
    mux.resume(ENDPOINTS);
    assert_eq!(asks(&mut mux).unwrap().resource_names, ["a", "b"]);
}

#[test]
fn wrapped_resources_live_as_long_as_they_are_renewed() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    let full = Resource { ttl: ttl(5), ..resource("", "a", Some(cluster("a", "x"))) };
    let list = vec![wrapped(full.clone()), cluster("b", "x")];
    let update = feed(&mut mux, &response("1", "1", list));
    assert_eq!(changed(&update), ["a", "b"]);
    assert_eq!(update.changed[0].ttl, Some(Duration::from_secs(5)));
    assert_eq!(mux.next_deadline(), Some(NOW + Duration::from_secs(5)));

    let heartbeat = Resource { resource: None, ttl: ttl(9), ..full };
    let update = feed(&mut mux, &response("1", "2", vec![wrapped(heartbeat)]));
    assert_eq!(update.unchanged, 1);
    assert!(update.removed.is_empty(), "a heartbeat says nothing of others");
    let end = NOW + Duration::from_secs(9);
    assert_eq!(mux.next_deadline(), Some(end));
    assert!(mux.expire(end - Duration::from_millis(1)).is_empty());
    let expired = mux.expire(end);
    assert_eq!(&*expired[0].removed[0], "a");
    assert_eq!(mux.next_deadline(), None);
    let update = feed(&mut mux, &response("1", "3", vec![cluster("a", "x"), cluster("b", "x")]));
    assert_eq!(changed(&update), ["a"], "it is new again");
}

#[test]
fn a_resource_sent_without_ttl_lives_without_end() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    let mortal = Resource { ttl: ttl(5), ..resource("", "a", Some(cluster("a", "x"))) };
    feed(&mut mux, &response("1", "1", vec![wrapped(mortal)]));
    feed(&mut mux, &response("1", "2", vec![cluster("a", "x")]));
    assert_eq!(mux.next_deadline(), None);
}

#[test]
fn what_is_wrong_with_a_response_is_nacked_by_itself() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    feed(&mut mux, &response("1", "1", vec![cluster("a", "x"), cluster("b", "x")]));
    let list = vec![cluster("a", "y"), cluster("a", "z"), assignment("b")];
    let (update, answer) = feed_rejecting(&mut mux, &response("2", "2", list), &[]);
    assert_eq!(changed(&update), ["a"]);
    assert!(removed(&update).is_empty(), "the nameless one may be b");
    let Answer::Nack(text) = answer else { panic!("{answer:?}") };
    assert!(text.contains("a: duplicate cluster a found, "), "{text}");
    assert!(text.contains("ClusterLoadAssignment in a response of type"), "{text}");
}

#[test]
fn a_type_nobody_subscribed_to_is_passed_over() {
    let mut mux = connected(Protocol::Sotw);
    let (update, answer) = feed_rejecting(&mut mux, &response("1", "1", vec![]), &[]);
    assert_eq!((answer, update.ignored), (Answer::Silent, 0));
    assert!(mux.poll_request().is_none());
}

#[test]
fn long_errors_are_cut() {
    let mut mux = connected(Protocol::Sotw);
    mux.subscribe_all(CLUSTER).unwrap();
    let many: Vec<String> = (0..2000).map(|i| format!("cluster-{i}")).collect();
    let list = many.iter().map(|name| cluster(name, "")).collect();
    let rejected: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_, answer) = feed_rejecting(&mut mux, &response("1", "1", list), &rejected);
    let Answer::Nack(text) = answer else { panic!("{answer:?}") };
    assert!(text.len() < 4200 && text.ends_with("...(truncated)"));
}

#[test]
fn a_watched_resource_is_named_when_it_comes_as_it_was() {
    let mut mux = mux(Protocol::Sotw);
    mux.subscribe(CLUSTER, &names(&["a", "b"])).unwrap();
    mux.connected();
    let both = |version| response(version, version, vec![cluster("a", ""), cluster("b", "")]);
    assert!(feed(&mut mux, &both("1")).renewed.is_empty());
    mux.watch(CLUSTER, "a", true);
    let update = feed(&mut mux, &both("2"));
    assert_eq!((update.unchanged, update.renewed), (2, vec![("a".into(), "2".into())]));
    mux.watch(CLUSTER, "a", false);
    assert!(feed(&mut mux, &both("3")).renewed.is_empty());
}
