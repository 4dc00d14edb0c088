//! What no server should send.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A valid response of either form.
fn valid(protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::Sotw => {
            let body = Some(cluster("w", "y"));
            let inner = Resource { ttl: ttl(5), ..resource("1", "w", body) };
            response("1", "1", vec![cluster("a", "x"), wrapped(inner)]).encode_to_vec()
        }
        Protocol::Delta => {
            let body = Some(cluster("a", "x"));
            let aliased = Resource { aliases: vec!["b".into()], ..resource("1", "a", body) };
            delta("1", vec![aliased], &["c"]).encode_to_vec()
        }
    }
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Sotw), Just(Protocol::Delta)]
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused_and_leave_a_machine_that_works(
        protocol in protocol(),
        garbage in vec(any::<u8>(), 0..200),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut mux = connected(protocol);
        mux.subscribe_all(CLUSTER).unwrap();
        mux.subscribe(CLUSTER, &names(&["b", "c"])).unwrap();
        let mut broken = valid(protocol);
        for (at, byte) in &changes {
            let at = at.index(broken.len());
            broken[at] = *byte;
        }
        let cut = cut.index(broken.len() + 1);
        for bytes in [&garbage[..], &broken[..], &broken[..cut]] {
            if let Ok(update) = mux.received(bytes, NOW) {
                mux.answer(update.receipt, Verdict::default());
            }
            while mux.poll_request().is_some() {}
            mux.expire(NOW + Duration::from_secs(1));
        }
        let update = mux.received(&valid(protocol), NOW).unwrap();
        mux.answer(update.receipt, Verdict::default());
        prop_assert!(mux.poll_request().is_some());
        prop_assert!(mux.status()[0].accepted >= 1);
    }

    /// What prost reads, the walk over the bytes reads alike.
    #[test]
    fn the_walk_agrees_with_the_decoder(
        list in vec(("[a-z]{1,4}", "[a-z]{0,3}", any::<bool>()), 0..8),
    ) {
        let resources: Vec<_> = list
            .iter()
            .map(|(name, content, wrap)| match wrap {
                true => wrapped(resource("w", name, Some(cluster(name, content)))),
                false => cluster(name, content),
            })
            .collect();
        let mut mux = connected(Protocol::Sotw);
        mux.subscribe_all(CLUSTER).unwrap();
        let update = mux.received(&response("1", "1", resources).encode_to_vec(), NOW).unwrap();
        let mut seen = std::collections::HashSet::new();
        let first: Vec<_> = list.iter().filter(|(name, ..)| seen.insert(name.clone())).collect();
        prop_assert_eq!(update.changed.len(), first.len());
        for (resource, (name, content, wrap)) in update.changed.iter().zip(first) {
            prop_assert_eq!(&*resource.name, name.as_str());
            prop_assert_eq!(&resource.body[..], &cluster(name, content).value[..]);
            prop_assert_eq!(&*resource.version, if *wrap { "w" } else { "1" });
        }
        mux.answer(update.receipt, Verdict::default());
    }
}

#[test]
fn a_reader_of_answers_that_never_reads_fills_nothing() {
    let mut mux = connected(Protocol::Delta);
    mux.subscribe_all(CLUSTER).unwrap();
    for nonce in 0..2000 {
        feed(&mut mux, &delta(&nonce.to_string(), vec![], &[]));
    }
    let mut requests = 0;
    while mux.poll_request().is_some() {
        requests += 1;
    }
    assert!(requests <= 300, "{requests}");
}
