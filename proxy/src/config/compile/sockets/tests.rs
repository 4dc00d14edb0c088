//! Which socket is for whom.

use proptest::prelude::*;

use super::*;
use crate::observe::stats::Registry;

fn text(value: &str) -> prost_types::Value {
    prost_types::Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn fields(list: &[(&str, prost_types::Value)]) -> prost_types::Struct {
    let fields = list.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    prost_types::Struct { fields: fields.collect() }
}

fn sockets(criteria: &[prost_types::Struct]) -> Sockets {
    let mut registry = Registry::new(1);
    let matches = criteria.iter().enumerate().map(|(index, criteria)| SocketMatch {
        criteria: map(criteria),
        socket: UpstreamSocket::default(),
        matched: registry.counter(&format!("cluster.c.m{index}.total_match_count")),
    });
    Sockets { matches: matches.collect(), ..Sockets::default() }
}

fn metadata(fields: prost_types::Struct) -> core::Metadata {
    core::Metadata {
        filter_metadata: [(KEY.to_owned(), fields)].into(),
        ..core::Metadata::default()
    }
}

/// What Envoy 1.40 counts for these.
#[test]
fn metadata_of_the_endpoint_goes_first() {
    let m = |value: &str| fields(&[("m", text(value))]);
    let one = prost_types::Value { kind: Some(Kind::NumberValue(1.0)) };
    let list = prost_types::ListValue { values: vec![one.clone(), one.clone()] };
    let list = prost_types::Value { kind: Some(Kind::ListValue(list)) };
    let sockets = sockets(&[m("two"), m("one"), fields(&[("l", one.clone())])]);
    let locality = metadata(m("two"));
    let of = |endpoint: Option<prost_types::Struct>, locality: Option<&core::Metadata>| {
        resolve(&sockets, endpoint.map(metadata).as_ref(), locality)
    };
    let [two, first, lists] = [0, 1, 2].map(SocketIndex::of_match);
    assert_eq!(of(None, Some(&locality)), two);
    let more = fields(&[("m", text("one")), ("extra", text("x"))]);
    assert_eq!(of(Some(more), Some(&locality)), first);
    assert_eq!(of(Some(m("zero")), Some(&locality)), two);
    assert_eq!(of(Some(m("zero")), None), SocketIndex::DEFAULT);
    assert_eq!(of(None, None), SocketIndex::DEFAULT);
    assert_eq!(of(Some(fields(&[("l", list)])), None), SocketIndex::DEFAULT);
    assert_eq!(of(Some(fields(&[("l", one)])), None), lists);
}

#[test]
fn a_match_without_criteria_is_for_all() {
    // As Istio has it: mutual TLS where the endpoint says so, plain text elsewhere.
    let istio = fields(&[("tlsMode", text("istio"))]);
    let sockets = sockets(&[istio.clone(), fields(&[])]);
    let [tls, plain] = [0, 1].map(SocketIndex::of_match);
    assert_eq!(resolve(&sockets, Some(&metadata(istio)), None), tls);
    assert_eq!(resolve(&sockets, Some(&metadata(fields(&[]))), None), plain);
    assert_eq!(resolve(&sockets, None, None), plain);
    let other = core::Metadata {
        filter_metadata: [("istio".to_owned(), fields(&[("tlsMode", text("istio"))]))].into(),
        ..core::Metadata::default()
    };
    assert_eq!(resolve(&sockets, Some(&other), None), plain);
}

fn any_value() -> impl Strategy<Value = prost_types::Value> {
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<bool>().prop_map(Kind::BoolValue),
        (-3i32..3).prop_map(|n| Kind::NumberValue(f64::from(n) / 2.0)),
        "[ab]{0,2}".prop_map(Kind::StringValue),
    ];
    let leaf = leaf.prop_map(|kind| prost_types::Value { kind: Some(kind) });
    leaf.prop_recursive(2, 12, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..3)
            .prop_map(|values| Kind::ListValue(prost_types::ListValue { values }));
        let map = prop::collection::btree_map("[ab]", inner, 0..3)
            .prop_map(|fields| Kind::StructValue(prost_types::Struct { fields }));
        prop_oneof![list, map].prop_map(|kind| prost_types::Value { kind: Some(kind) })
    })
}

fn any_struct() -> impl Strategy<Value = prost_types::Struct> {
    prop::collection::btree_map("[abc]", any_value(), 0..3)
        .prop_map(|fields| prost_types::Struct { fields })
}

proptest! {
    /// A host is matched by exactly the criteria that are a part of its metadata.
    #[test]
    fn criteria_are_a_subset(asked in any_struct(), criteria in any_struct()) {
        let subset = |criteria: &prost_types::Struct| {
            criteria.fields.iter().all(|(name, value)| asked.fields.get(name) == Some(value))
        };
        prop_assert_eq!(holds(Some(&asked), &map(&criteria)), subset(&criteria));
        prop_assert_eq!(holds(None, &map(&criteria)), criteria.fields.is_empty());
        prop_assert!(holds(Some(&asked), &map(&asked)));
        for name in asked.fields.keys() {
            let mut part = asked.clone();
            part.fields.retain(|other, _| other == name);
            prop_assert!(holds(Some(&asked), &map(&part)));
        }
    }

    /// The first match wins, and what comes after it changes nothing.
    #[test]
    fn the_first_match_wins(
        asked in any_struct(),
        all in prop::collection::vec(any_struct(), 0..5),
        more in any_struct(),
    ) {
        let found = resolve(&sockets(&all), Some(&metadata(asked.clone())), None);
        let fits = |criteria: &prost_types::Struct| holds(Some(&asked), &map(criteria));
        let expected = all.iter().position(fits);
        let expected = expected.map_or(SocketIndex::DEFAULT, SocketIndex::of_match);
        prop_assert_eq!(found, expected);
        if found != SocketIndex::DEFAULT {
            let longer = [all, vec![more]].concat();
            prop_assert_eq!(resolve(&sockets(&longer), Some(&metadata(asked)), None), found);
        }
    }
}
