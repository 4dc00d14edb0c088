use prost::Message;
use ringway_wire::base64;

use super::{Istio, SAID_MAX};
use crate::plan::istio::Workload;

fn header(name: &str) -> Vec<u8> {
    let workload = Workload { name: name.into(), namespace: "app".into(), ..Workload::default() };
    let mut out = Vec::new();
    base64::encode(&workload.to_struct().encode_to_vec(), &mut out);
    out
}

/// In a runtime, for peers draw their numbers there.
fn with(test: impl FnOnce(&Istio)) {
    let net = ringway_runtime::sim::Network::new(1, ringway_runtime::sim::Faults::none());
    let backend = ringway_runtime::Backend::Sim(net);
    let config = ringway_runtime::Config { backend, ..Default::default() };
    ringway_runtime::Runtime::new(config).expect("a runtime").enter(|| test(&Istio::default()));
}

#[test]
fn a_peer_is_decoded_once() {
    with(|istio| {
        let first = istio.of_header(&header("a"), &[]).expect("a peer");
        assert_eq!((&*first.workload.name, &*first.workload.namespace), ("a", "app"));
        let again = istio.of_header(&header("a"), &[]).expect("a peer");
        assert_eq!(first.id, again.id);
        assert_ne!(istio.of_header(&header("b"), &[]).expect("a peer").id, first.id);
        // Senders leave padding away.
        let value = header("abc");
        let bare: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'=').collect();
        assert!(value.len() > bare.len(), "nothing to leave away");
        let peer = istio.of_header(&bare, &[]).expect("a peer");
        assert_eq!(&*peer.workload.name, "abc");
    });
}

#[test]
fn what_is_no_peer_is_nobody() {
    with(|istio| {
        assert_eq!(istio.of_header(b"not base64!", &[]), None);
        assert_eq!(istio.of_header(b"////", &[]), None);
        assert_eq!(istio.of_header(&vec![b'A'; SAID_MAX + 4], &[]), None);
        // Nothing is said of anything.
        assert_eq!(*istio.of_header(b"", &[]).expect("empty").workload.name, *"");
    });
}

#[test]
fn clients_cannot_fill_the_memory() {
    with(|istio| {
        for n in 0..2000 {
            istio.of_header(&header(&n.to_string()), &[]);
        }
        assert!(istio.peers.borrow().len() <= super::PEERS_MAX);
    });
}
