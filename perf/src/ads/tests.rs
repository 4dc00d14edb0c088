use super::session::Session;
use super::unchanged;
use super::world::{Kind, Plan, World};
use prost::Message;
use ringway_xds::api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use ringway_xds::api::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

fn world() -> World {
    let listen = ([127, 0, 0, 1], 10_000).into();
    World::new(Plan { clusters: 300, endpoints: 2, upstream: 9001, listen }).unwrap()
}

fn ask(kind: Kind, names: &[&str], nonce: &str) -> Vec<u8> {
    let request = DiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    };
    request.encode_to_vec()
}

fn read(bytes: Option<Vec<u8>>) -> DiscoveryResponse {
    DiscoveryResponse::decode(bytes.unwrap().as_slice()).unwrap()
}

#[test]
fn a_client_gets_what_it_asks_for_once() {
    let (world, mut session) = (world(), Session::default());
    let all = read(session.request(&ask(Kind::Cluster, &[], ""), &world).unwrap());
    assert_eq!(all.resources.len(), 300);
    let accepted = ask(Kind::Cluster, &[], &all.nonce);
    assert_eq!(session.request(&accepted, &world).unwrap(), None);
    assert_eq!(session.acks, 1);
    assert_eq!(session.request(&accepted, &world).unwrap(), None);
    assert_eq!(session.acks, 1, "said twice, meant once");

    let two = ask(Kind::Endpoints, &["c00000", "c00299"], "");
    let two = read(session.request(&two, &world).unwrap());
    assert_eq!(two.resources.len(), 2);
    let more = ask(Kind::Endpoints, &["c00000", "c00299", "c00001"], &two.nonce);
    assert_eq!(read(session.request(&more, &world).unwrap()).resources.len(), 3);
    let stale = ask(Kind::Endpoints, &["c00000"], &two.nonce);
    assert_eq!(session.request(&stale, &world).unwrap(), None);
}

#[test]
fn changes_go_to_those_who_asked() {
    let (mut world, mut session) = (world(), Session::default());
    let moved = world.endpoint(7, 1, 1);
    assert_ne!(moved, world.endpoint(7, 1, 0));
    let names = [world.set_endpoints(7, &[moved])];
    assert_eq!(session.push(Kind::Endpoints, &names, &world), None, "nobody asked");
    session.request(&ask(Kind::Endpoints, &["c00007", "c00008"], ""), &world).unwrap();
    let one = read(session.push(Kind::Endpoints, &names, &world));
    assert_eq!(one.resources.len(), 1);
    let assignment = ClusterLoadAssignment::decode(one.resources[0].value.as_slice()).unwrap();
    assert_eq!(assignment.cluster_name, "c00007");
    assert_eq!(session.push(Kind::Endpoints, &["c00009".into()], &world), None);

    session.request(&ask(Kind::Cluster, &[], ""), &world).unwrap();
    let before = world.version();
    unchanged(&mut world).unwrap();
    let again = read(session.push(Kind::Cluster, &[], &world));
    assert_eq!(again.resources.len(), 300);
    assert_ne!(again.version_info, before.to_string());
}

#[test]
fn endpoints_have_addresses_of_their_own() {
    let world = world();
    let mut seen = std::collections::HashSet::new();
    for cluster in 0..300 {
        for at in 0..2 {
            for moves in 0..3 {
                assert!(seen.insert(world.endpoint(cluster, at, moves)));
            }
        }
    }
}
