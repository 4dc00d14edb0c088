//! Incremental.

use std::collections::BTreeMap;

use super::*;
use crate::api::envoy::service::discovery::v3::{ResourceError, ResourceName};
use crate::api::google::rpc::Status;
use crate::types::VIRTUAL_HOST;

fn one(version: &str, name: &str, content: &str) -> Resource {
    resource(version, name, Some(cluster(name, content)))
}

#[test]
fn a_wildcard_alone_is_asked_for_by_naming_nothing() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    let first = asks_delta(&mut mux).unwrap();
    assert_eq!((first.type_url.as_str(), first.node), (CLUSTER, Some(node())));
    assert!(first.resource_names_subscribe.is_empty());
    assert!(first.initial_resource_versions.is_empty());
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    // The legacy wildcard goes on.
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, ["a"]);
    mux.unsubscribe_all(CLUSTER);
    let request = asks_delta(&mut mux).unwrap();
    assert_eq!(request.resource_names_unsubscribe, [WILDCARD]);
    assert!(request.resource_names_subscribe.is_empty());
    mux.subscribe_all(CLUSTER).unwrap();
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, [WILDCARD]);
    mux.connected();
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, [WILDCARD, "a"]);
}

#[test]
fn every_response_is_answered_by_its_nonce() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    asks_delta(&mut mux).unwrap();
    let update = feed(&mut mux, &delta("1", vec![one("1", "a", "x"), one("1", "b", "x")], &[]));
    assert_eq!((changed(&update), &*update.version), (vec!["a", "b"], "v1"));
    let (_, answer) = feed_rejecting(&mut mux, &delta("2", vec![one("2", "b", "y")], &[]), &["b"]);
    assert!(matches!(answer, Answer::Nack(_)));
    let ack = asks_delta(&mut mux).unwrap();
    assert_eq!((ack.response_nonce.as_str(), ack.error_detail), ("1", None));
    let nack = asks_delta(&mut mux).unwrap();
    assert_eq!((nack.response_nonce.as_str(), nack.error_detail.unwrap().code), ("2", 13));
    assert!(nack.node.is_none());

    mux.disconnected();
    mux.connected();
    let again = asks_delta(&mut mux).unwrap();
    let pair = |name: &str| (name.to_owned(), "1".to_owned());
    assert_eq!(again.initial_resource_versions, BTreeMap::from([pair("a"), pair("b")]));
    assert!(again.resource_names_subscribe.is_empty() && again.response_nonce.is_empty());
}

#[test]
fn only_differences_of_the_subscription_are_told_in_one_request() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe(ENDPOINTS, &names(&["a", "b"])).unwrap();
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, ["a", "b"]);
    mux.subscribe(ENDPOINTS, &names(&["c", "d"])).unwrap();
    mux.unsubscribe(ENDPOINTS, &names(&["d", "a"]));
    let request = asks_delta(&mut mux).unwrap();
    assert_eq!(request.resource_names_subscribe, ["c"]);
    assert_eq!(request.resource_names_unsubscribe, ["a"]);
    assert!(mux.poll_request().is_none());
}

#[test]
fn who_subscribes_again_is_sent_it_again() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    asks_delta(&mut mux).unwrap();
    feed(&mut mux, &delta("1", vec![one("1", "a", "x")], &[]));
    asks_delta(&mut mux).unwrap();
    mux.unsubscribe(CLUSTER, &names(&["a"]));
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    let request = asks_delta(&mut mux).unwrap();
    assert_eq!(request.resource_names_subscribe, ["a"]);
    assert!(request.resource_names_unsubscribe.is_empty());
    assert_eq!(changed(&feed(&mut mux, &delta("2", vec![one("1", "a", "x")], &[]))), ["a"]);
}

#[test]
fn a_wildcard_given_up_and_taken_up_again_is_told_twice() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    asks_delta(&mut mux).unwrap();
    mux.unsubscribe_all(CLUSTER);
    mux.subscribe_all(CLUSTER).unwrap();
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_unsubscribe, [WILDCARD]);
    assert_eq!(asks_delta(&mut mux).unwrap().resource_names_subscribe, [WILDCARD]);
    assert!(mux.poll_request().is_none());
}

#[test]
fn an_answer_does_not_accept_what_was_given_up_meanwhile() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    let message = delta("1", vec![one("1", "a", "x")], &[]).encode_to_vec();
    let update = mux.received(&message, NOW).unwrap();
    mux.unsubscribe(CLUSTER, &names(&["a"]));
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    assert_eq!(mux.answer(update.receipt, Verdict::default()), Answer::Ack);
    assert_eq!(mux.status()[0].accepted, 0);
}

#[test]
fn removal_is_told_of_what_is_there_or_wanted() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    mux.subscribe(CLUSTER, &names(&["wanted"])).unwrap();
    feed(&mut mux, &delta("1", vec![one("1", "a", "x"), one("1", "b", "x")], &[]));
    let mut message = delta("2", vec![], &["a", "nobody", "wanted"]);
    message.removed_resource_names = vec![ResourceName { name: "b".into(), ..Default::default() }];
    assert_eq!(removed(&feed(&mut mux, &message)), ["a", "wanted", "b"]);
    assert_eq!((mux.status()[0].accepted, mux.status()[0].names), (0, 1));
    let both = delta("3", vec![one("1", "a", "x")], &["a"]);
    let (update, answer) = feed_rejecting(&mut mux, &both, &[]);
    assert_eq!(changed(&update), ["a"]);
    assert!(matches!(answer, Answer::Nack(_)));
}

#[test]
fn a_name_given_up_under_the_wildcard_stays_until_the_server_says_otherwise() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    feed(&mut mux, &delta("1", vec![one("1", "a", "x"), one("1", "b", "x")], &[]));
    mux.unsubscribe(CLUSTER, &names(&["a"]));
    while mux.poll_request().is_some() {}
    assert_eq!(mux.status()[0].accepted, 2);
    assert_eq!(removed(&feed(&mut mux, &delta("2", vec![], &["a"]))), ["a"]);
    mux.subscribe(CLUSTER, &names(&["b"])).unwrap();
    mux.unsubscribe_all(CLUSTER);
    assert_eq!(mux.status()[0].accepted, 1, "what is named stays");
}

#[test]
fn heartbeats_renew_if_the_version_is_the_accepted_one() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    feed(&mut mux, &delta("1", vec![Resource { ttl: ttl(5), ..one("1", "a", "x") }], &[]));
    let beat = |version| Resource { ttl: ttl(7), ..resource(version, "a", None) };
    assert_eq!(feed(&mut mux, &delta("2", vec![beat("1")], &[])).unchanged, 1);
    assert_eq!(mux.next_deadline(), Some(NOW + Duration::from_secs(7)));
    let (_, answer) = feed_rejecting(&mut mux, &delta("3", vec![beat("2")], &[]), &[]);
    let text = "Error adding/updating cluster(s) a: no body at version 2; here it is at 1";
    assert_eq!(answer, Answer::Nack(text.into()));
    assert_eq!(&*mux.expire(NOW + Duration::from_secs(7))[0].removed[0], "a");
    let (update, answer) = feed_rejecting(
        &mut mux,
        &delta("4", vec![Resource { ttl: ttl(-1), ..one("1", "a", "x") }], &[]),
        &[],
    );
    assert!(update.changed.is_empty() && matches!(answer, Answer::Nack(_)));
}

#[test]
fn an_alias_becomes_the_name_it_stands_for() {
    for all in [false, true] {
        let mut mux = connected(Protocol::Delta);
        if all {
            mux.subscribe_all(VIRTUAL_HOST).unwrap();
        }
        mux.subscribe(VIRTUAL_HOST, &names(&["r/a.example", "r/none"])).unwrap();
        asks_delta(&mut mux).unwrap();
        an_alias_is_resolved(&mut mux);
        let request = asks_delta(&mut mux).unwrap();
        // Who asks for everything has the name already.
        let (subscribed, unsubscribed): (&[&str], &[&str]) =
            if all { (&[], &[]) } else { (&["r/vhost"], &["r/a.example"]) };
        assert_eq!(request.resource_names_subscribe, subscribed);
        assert_eq!(request.resource_names_unsubscribe, unsubscribed);
    }
}

fn an_alias_is_resolved(mux: &mut Mux) {
    let body = packed(VIRTUAL_HOST, &Cluster { name: "vhost".into(), ..Cluster::default() });
    let found = Resource {
        aliases: vec!["r/a.example".into(), "r/b.example".into()],
        ..resource("1", "r/vhost", Some(body))
    };
    let none = Resource { aliases: vec!["r/none".into()], ..resource("1", "r/none", None) };
    let message = DeltaDiscoveryResponse {
        type_url: VIRTUAL_HOST.into(),
        ..delta("1", vec![found, none], &[])
    };
    let update = feed(mux, &message);
    assert_eq!(changed(&update), ["r/vhost"]);
    assert_eq!(update.changed[0].aliases.len(), 2);
    assert_eq!(update.unresolved, names(&["r/none"]));
}

#[test]
fn what_the_server_cannot_give_is_told_with_its_reason() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe(CLUSTER, &names(&["a"])).unwrap();
    let mut message = delta("1", vec![], &[]);
    message.resource_errors = vec![ResourceError {
        resource_name: Some(ResourceName { name: "a".into(), ..Default::default() }),
        error_detail: Some(Status { code: 7, message: "no".into(), ..Default::default() }),
    }];
    let update = feed(&mut mux, &message);
    assert_eq!((&*update.errors[0].name, update.errors[0].code), ("a", 7));
    assert_eq!(update.errors[0].message, "no");
}
