//! State of the world.

use super::*;
use crate::api::envoy::service::discovery::v3::{Resource, ResourceLocator};
use crate::wire::string_field;

fn ask(url: &str, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: node(),
        type_url: url.into(),
        resource_names: words(names),
        ..DiscoveryRequest::default()
    }
}

fn answer(response: &DiscoveryResponse, names: &[&str], nack: Option<&str>) -> DiscoveryRequest {
    DiscoveryRequest {
        node: None,
        version_info: if nack.is_none() { response.version_info.clone() } else { String::new() },
        response_nonce: response.nonce.clone(),
        error_detail: nack.and_then(error),
        ..ask(&response.type_url, names)
    }
}

fn send(session: &mut Session, cache: &Cache, request: &DiscoveryRequest) {
    session.request(cache, &request.encode_to_vec()).unwrap();
}

fn next(session: &mut Session, cache: &Cache) -> Option<DiscoveryResponse> {
    let bytes = session.poll_response(cache, NOW)?;
    Some(DiscoveryResponse::decode(&*bytes).unwrap())
}

fn names(response: &DiscoveryResponse) -> Vec<String> {
    let name = |any: &prost_types::Any| string_field(&any.value, 1).unwrap().to_owned();
    let mut names: Vec<_> = response.resources.iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn clusters_come_whole_and_again_only_when_one_differs() {
    let mut cache = cache(&["a", "b"]);
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    assert!(next(&mut session, &cache).is_none());
    cache.update(GROUP, CLUSTER, cluster("a", "y"));
    assert!(next(&mut session, &cache).is_none(), "the first is not answered yet");
    send(&mut session, &cache, &answer(&first, &[], None));
    let second = next(&mut session, &cache).unwrap();
    assert_eq!(names(&second), ["a", "b"]);
    assert_ne!(second.version_info, first.version_info);
    send(&mut session, &cache, &answer(&second, &[], None));
    // Back and forth between two looks is no change.
    cache.update(GROUP, CLUSTER, cluster("a", "x"));
    cache.update(GROUP, CLUSTER, cluster("a", "y"));
    assert!(next(&mut session, &cache).is_none());
    cache.remove(GROUP, CLUSTER, "a");
    assert_eq!(names(&next(&mut session, &cache).unwrap()), ["b"]);
}

#[test]
fn endpoints_come_one_by_one() {
    let mut cache = cache(&[]);
    for name in ["a", "b", "c"] {
        cache.update(GROUP, ENDPOINTS, assignment(name, "x"));
    }
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(ENDPOINTS, &["a", "b", "nobody"]));
    let first = next(&mut session, &cache).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    send(&mut session, &cache, &answer(&first, &["a", "b", "nobody"], None));
    cache.update(GROUP, ENDPOINTS, assignment("b", "y"));
    cache.update(GROUP, ENDPOINTS, assignment("c", "y"));
    let second = next(&mut session, &cache).unwrap();
    assert_eq!(names(&second), ["b"]);
    send(&mut session, &cache, &answer(&second, &["a", "c"], None));
    let third = next(&mut session, &cache).unwrap();
    assert_eq!(names(&third), ["c"]);
    send(&mut session, &cache, &answer(&third, &["a", "b", "c"], None));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), ["b"], "subscribed to again");
}

#[test]
fn what_is_referred_to_comes_first() {
    let mut cache = cache(&["a"]);
    cache.update(GROUP, ENDPOINTS, assignment("a", "x"));
    cache.update(GROUP, LISTENER, cluster("l", "x"));
    let mut session = session(Protocol::Sotw);
    for (url, names) in [(LISTENER, vec![]), (ENDPOINTS, vec!["a"]), (CLUSTER, vec![])] {
        send(&mut session, &cache, &ask(url, &names));
    }
    let urls: Vec<_> =
        std::iter::from_fn(|| next(&mut session, &cache)).map(|r| r.type_url).collect();
    assert_eq!(urls, [CLUSTER, ENDPOINTS, LISTENER]);
}

#[test]
fn a_client_that_has_the_version_is_sent_nothing() {
    let mut cache = cache(&["a", "b"]);
    let mut before = session(Protocol::Sotw);
    send(&mut before, &cache, &ask(CLUSTER, &[]));
    let version_info = next(&mut before, &cache).unwrap().version_info;
    let mut session = session(Protocol::Sotw);
    let again = DiscoveryRequest { version_info, ..ask(CLUSTER, &[]) };
    send(&mut session, &cache, &again);
    assert!(next(&mut session, &cache).is_none());
    cache.update(GROUP, CLUSTER, cluster("b", "y"));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), ["a", "b"]);
}

#[test]
fn what_is_rejected_is_sent_again_when_it_differs_and_csds_says_so() {
    let mut cache = cache(&["a"]);
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    assert_eq!(statuses(&session, &cache)[0].1, ClientResourceStatus::Requested);
    send(&mut session, &cache, &answer(&first, &[], Some("why")));
    assert!(next(&mut session, &cache).is_none());
    let status = session.client_status(&cache, true);
    assert_eq!(status.node, node());
    let config = &status.generic_xds_configs[0];
    assert_eq!(config.client_status(), ClientResourceStatus::Nacked);
    assert_eq!(config.error_state.as_ref().unwrap().details, "why");
    assert_eq!(config.xds_config.as_ref().unwrap().type_url, CLUSTER);
    cache.update(GROUP, CLUSTER, cluster("a", "y"));
    let second = next(&mut session, &cache).unwrap();
    send(&mut session, &cache, &answer(&second, &[], None));
    assert_eq!(statuses(&session, &cache), [("a".to_owned(), ClientResourceStatus::Acked)]);
}

#[test]
fn a_request_older_than_the_last_response_changes_nothing() {
    let mut cache = cache(&[]);
    cache.update(GROUP, ENDPOINTS, assignment("a", "x"));
    cache.update(GROUP, ENDPOINTS, assignment("b", "x"));
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(ENDPOINTS, &["a"]));
    let first = next(&mut session, &cache).unwrap();
    send(&mut session, &cache, &answer(&first, &["a"], None));
    cache.update(GROUP, ENDPOINTS, assignment("a", "y"));
    let second = next(&mut session, &cache).unwrap();
    send(&mut session, &cache, &answer(&first, &["b"], None));
    assert!(next(&mut session, &cache).is_none());
    send(&mut session, &cache, &answer(&second, &["b"], None));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), ["b"]);
}

#[test]
fn an_empty_list_is_all_at_first_and_nothing_later() {
    let mut cache = cache(&["a", "b"]);
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    send(&mut session, &cache, &answer(&first, &[WILDCARD, "c"], None));
    let second = next(&mut session, &cache).unwrap();
    assert_eq!(names(&second), ["a", "b"], "c does not exist, and absence says so");
    send(&mut session, &cache, &answer(&second, &["b"], None));
    let third = next(&mut session, &cache).unwrap();
    assert_eq!(names(&third), ["b"]);
    send(&mut session, &cache, &answer(&third, &[], None));
    cache.update(GROUP, CLUSTER, cluster("b", "y"));
    assert!(next(&mut session, &cache).is_none());
}

#[test]
fn a_type_without_resources_is_answered_and_a_group_that_is_not_set_is_not() {
    let mut cache = Cache::default();
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    send(&mut session, &cache, &ask(ENDPOINTS, &["a"]));
    assert!(next(&mut session, &cache).is_none());
    cache.set(GROUP, Snapshot::default());
    let response = next(&mut session, &cache).unwrap();
    assert_eq!((response.type_url.as_str(), response.resources.len()), (CLUSTER, 0));
    assert!(next(&mut session, &cache).is_none());
}

#[test]
fn resources_with_a_time_to_live_are_renewed_in_half_of_it() {
    let mut cache = cache(&["b"]);
    let ttl = Duration::from_secs(8);
    cache.update(GROUP, CLUSTER, cluster("a", "x").with_ttl(ttl));
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    assert_eq!(session.next_deadline(), None, "not answered yet");
    send(&mut session, &cache, &answer(&first, &[], None));
    let at = NOW + Duration::from_secs(4);
    assert_eq!(session.next_deadline(), Some(at));
    assert!(next(&mut session, &cache).is_none());
    let beat = session.poll_response(&cache, at).unwrap();
    let beat = DiscoveryResponse::decode(&*beat).unwrap();
    assert_eq!(beat.resources.len(), 2, "what lives without end is not absent");
    let wrapper = beat.resources.iter().find(|any| any.type_url.ends_with(".Resource")).unwrap();
    let renewed = Resource::decode(&*wrapper.value).unwrap();
    assert_eq!(
        (renewed.name.as_str(), renewed.resource, renewed.ttl.unwrap().seconds),
        ("a", None, 8)
    );
}

#[test]
fn what_no_client_may_send_is_refused() {
    let cache = cache(&["a"]);
    let refuse = |request: DiscoveryRequest| {
        let mut session = session(Protocol::Sotw);
        session.request(&cache, &request.encode_to_vec()).unwrap_err().to_string()
    };
    let anonymous = DiscoveryRequest { node: None, ..ask(CLUSTER, &[]) };
    assert!(refuse(anonymous).contains("must have a node"));
    assert!(refuse(ask("", &[])).contains("type_url"));
    assert!(refuse(ask(CLUSTER, &[&"x".repeat(20_000)])).contains("20000 bytes"));
    let mut locator = ResourceLocator { name: "a".into(), ..ResourceLocator::default() };
    locator.dynamic_parameters.insert("k".into(), "v".into());
    let located = DiscoveryRequest { resource_locators: vec![locator], ..ask(CLUSTER, &[]) };
    assert!(refuse(located).contains("dynamic parameters"));
    let mut single =
        Session::new(Options { type_url: Some(CLUSTER.into()), ..Options::new(Protocol::Sotw) });
    assert!(single.request(&cache, &ask("", &[]).encode_to_vec()).is_ok());
    assert!(single.request(&cache, b"\xff").is_err());
    assert_eq!(next(&mut single, &cache).unwrap().type_url, CLUSTER);
}

#[test]
fn a_node_that_moves_to_another_group_gets_its_resources() {
    let mut cache = cache(&["a"]);
    let mut other = Snapshot::default();
    other.insert(CLUSTER, cluster("b", "x"));
    cache.set("m", other);
    let mut session = session(Protocol::Sotw);
    send(&mut session, &cache, &ask(CLUSTER, &[]));
    let first = next(&mut session, &cache).unwrap();
    let moved = Some(Node { id: "m".into(), ..Node::default() });
    send(&mut session, &cache, &DiscoveryRequest { node: moved, ..answer(&first, &[], None) });
    assert_eq!(session.group().map(|group| &**group), Some("m"));
    assert_eq!(names(&next(&mut session, &cache).unwrap()), ["b"]);
}
