//! Incremental.

use std::collections::BTreeMap;

use super::*;
use crate::types::VIRTUAL_HOST;

fn ask(url: &str, subscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(),
        type_url: url.into(),
        resource_names_subscribe: words(subscribe),
        ..DeltaDiscoveryRequest::default()
    }
}

fn send(session: &mut Session, cache: &Cache, request: &DeltaDiscoveryRequest) {
    session.request(cache, &request.encode_to_vec()).unwrap();
}

fn next(session: &mut Session, cache: &Cache) -> Option<DeltaDiscoveryResponse> {
    let bytes = session.poll_response(cache, NOW)?;
    let response = DeltaDiscoveryResponse::decode(&*bytes).unwrap();
    let nonce = response.nonce.clone();
    send(
        session,
        cache,
        &DeltaDiscoveryRequest { response_nonce: nonce, ..ask(&response.type_url, &[]) },
    );
    Some(response)
}

/// Names of a response, and of what it removes.
fn names(response: &DeltaDiscoveryResponse) -> (Vec<&str>, Vec<&str>) {
    let mut names: Vec<_> = response.resources.iter().map(|r| r.name.as_str()).collect();
    names.sort_unstable();
    let mut removed: Vec<_> = response.removed_resources.iter().map(String::as_str).collect();
    removed.sort_unstable();
    (names, removed)
}

#[test]
fn only_what_differs_is_sent() {
    let mut cache = cache(&["a", "b", "c"]);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    assert_eq!(names(&first), (vec!["a", "b", "c"], vec![]));
    assert_eq!(first.resources[0].version.len(), 16);
    assert!(next(&mut session, &cache).is_none());
    cache.update(GROUP, CLUSTER, cluster("b", "y"));
    cache.update(GROUP, CLUSTER, cluster("d", "x"));
    cache.remove(GROUP, CLUSTER, "c");
    cache.update(GROUP, CLUSTER, cluster("a", "y"));
    cache.update(GROUP, CLUSTER, cluster("a", "x"));
    let second = next(&mut session, &cache).unwrap();
    assert_eq!(names(&second), (vec!["b", "d"], vec!["c"]));
    let mut snapshot = Snapshot::default();
    for name in ["a", "d"] {
        snapshot.insert(CLUSTER, cluster(name, "x"));
    }
    cache.set(GROUP, snapshot);
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec![], vec!["b"]));
    assert!(next(&mut session, &cache).is_none());
}

#[test]
fn a_new_stream_goes_on_from_what_the_client_has() {
    let cache = cache(&["a", "b", "c"]);
    let mut session = session(Protocol::Delta);
    let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    let current = cluster("a", "x").version().to_owned();
    let initial = BTreeMap::from([pair("a", &current), pair("b", "old"), pair("gone", "old")]);
    let first = DeltaDiscoveryRequest { initial_resource_versions: initial, ..ask(CLUSTER, &[]) };
    send(&mut session, &cache, &first);
    let response = next(&mut session, &cache).unwrap();
    assert_eq!(names(&response), (vec!["b", "c"], vec!["gone"]));
}

#[test]
fn the_wildcard_can_be_left_and_taken_up_again() {
    let mut cache = cache(&["a", "b"]);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    next(&mut session, &cache).unwrap();
    send(&mut session, &cache, &ask(CLUSTER, &["a"]));
    let response = next(&mut session, &cache).unwrap();
    assert_eq!(names(&response), (vec!["a"], vec![]), "whoever asks is sent it");
    let leave = |names: &[&str]| DeltaDiscoveryRequest {
        resource_names_unsubscribe: words(names),
        ..ask(CLUSTER, &[])
    };
    send(&mut session, &cache, &leave(&[WILDCARD]));
    cache.update(GROUP, CLUSTER, cluster("b", "y"));
    assert!(next(&mut session, &cache).is_none());
    cache.update(GROUP, CLUSTER, cluster("a", "y"));
    assert_eq!(names(&next(&mut session, &cache).unwrap()).0, ["a"]);
    send(&mut session, &cache, &ask(CLUSTER, &[WILDCARD]));
    assert_eq!(names(&next(&mut session, &cache).unwrap()).0, ["b"]);
    // Under the wildcard, a name given up is answered with what holds.
    send(&mut session, &cache, &leave(&["a"]));
    assert_eq!(names(&next(&mut session, &cache).unwrap()).0, ["a"]);
}

#[test]
fn a_name_without_resource_is_told_as_removed_until_it_comes() {
    let mut cache = cache(&[]);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(ENDPOINTS, &["a", "b"]));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec![], vec!["a", "b"]));
    cache.update(GROUP, ENDPOINTS, assignment("b", "x"));
    cache.update(GROUP, ENDPOINTS, assignment("c", "x"));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec!["b"], vec![]));
}

#[test]
fn an_empty_wildcard_is_answered_once() {
    let cache = cache(&[]);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec![], vec![]));
    assert!(next(&mut session, &cache).is_none());
}

#[test]
fn virtual_hosts_are_found_by_alias_and_missing_ones_are_told() {
    let mut cache = cache(&[]);
    let host = cluster("r/v", "x").with_aliases(vec!["r/a.example".into()]);
    cache.update(GROUP, VIRTUAL_HOST, host);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(VIRTUAL_HOST, &["r/a.example", "r/none"]));
    let response = next(&mut session, &cache).unwrap();
    assert_eq!(names(&response), (vec!["r/none", "r/v"], vec![]));
    let of = |name: &str| response.resources.iter().find(|r| r.name == name).unwrap();
    assert_eq!(of("r/v").aliases, ["r/a.example"]);
    assert_eq!(
        (of("r/none").aliases.as_slice(), &of("r/none").resource),
        (&words(&["r/none"])[..], &None)
    );
    cache.update(GROUP, VIRTUAL_HOST, cluster("r/v", "y").with_aliases(vec!["r/a.example".into()]));
    assert_eq!(names(&next(&mut session, &cache).unwrap()).0, ["r/v"]);
}

#[test]
fn a_session_far_behind_still_gets_exactly_the_difference() {
    let mut cache = cache(&["a", "b"]);
    let mut session = session(Protocol::Delta);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    next(&mut session, &cache).unwrap();
    for round in 0..3000 {
        cache.update(GROUP, CLUSTER, cluster("a", &round.to_string()));
    }
    cache.update(GROUP, CLUSTER, cluster("c", "x"));
    cache.remove(GROUP, CLUSTER, "b");
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec!["a", "c"], vec!["b"]));
    cache.clear(GROUP);
    assert!(next(&mut session, &cache).is_none());
    let mut snapshot = Snapshot::default();
    snapshot.insert(CLUSTER, cluster("c", "x"));
    cache.set(GROUP, snapshot);
    assert_eq!(names(&next(&mut session, &cache).unwrap()), (vec![], vec!["a"]));
}

#[test]
fn resources_in_two_snapshots_are_one() {
    let shared = Arc::new(cluster("a", "x"));
    let mut cache = Cache::default();
    for group in ["n", "m"] {
        let mut snapshot = Snapshot::default();
        snapshot.insert(CLUSTER, Arc::clone(&shared));
        cache.set(group, snapshot);
    }
    let of = |group| cache.get(group, CLUSTER, "a").unwrap();
    assert!(Arc::ptr_eq(of("n"), of("m")));
}
