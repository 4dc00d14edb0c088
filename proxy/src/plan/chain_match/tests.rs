use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{ChainMatcher, Facts, NO_ADDRESS, Overlap, Rules, SourceType};

fn names(list: &[&str]) -> Vec<Box<str>> {
    list.iter().map(|name| Box::from(*name)).collect()
}

fn facts<'a>(server_name: &'a str, alpn: &'a [Box<[u8]>]) -> Facts<'a> {
    Facts {
        local: Some(([10, 0, 0, 1], 443).into()),
        remote: Some(([192, 168, 1, 2], 5000).into()),
        direct_remote: Some(([192, 168, 1, 2], 5000).into()),
        server_name,
        transport_protocol: "tls",
        application_protocols: alpn,
    }
}

fn by_names(list: &[&[&str]]) -> Result<ChainMatcher, Overlap> {
    let rules: Vec<Rules> =
        list.iter().map(|list| Rules { server_names: names(list), ..Rules::default() }).collect();
    ChainMatcher::new(&rules, None)
}

#[test]
fn the_longest_suffix_wins_and_the_exact_name_before_it() {
    let matcher = by_names(&[&["a.b.c"], &[".b.c"], &[".c"], &[]]).expect("no overlap");
    let find = |name| matcher.find(&facts(name, &[]));
    assert_eq!(find("a.b.c"), Some(0));
    assert_eq!(find("x.b.c"), Some(1));
    assert_eq!(find("y.x.b.c"), Some(1));
    assert_eq!(find("b.c"), Some(2));
    assert_eq!(find("c"), Some(3));
    assert_eq!(find(""), Some(3));
    // Neither a leading nor a trailing dot makes a suffix.
    assert_eq!(find("x."), Some(3));
}

#[test]
fn a_choice_is_not_taken_back() {
    let longer = Rules { server_names: names(&[".b.test"]), ..Rules::default() };
    let shorter = Rules {
        server_names: names(&[".a.b.test"]),
        application_protocols: names(&["h2"]),
        ..Rules::default()
    };
    let matcher = ChainMatcher::new(&[longer, shorter], None).expect("no overlap");
    let h1: [Box<[u8]>; 1] = [Box::from(&b"http/1.1"[..])];
    let h2: [Box<[u8]>; 1] = [Box::from(&b"h2"[..])];
    assert_eq!(matcher.find(&facts("x.a.b.test", &h2)), Some(1));
    assert_eq!(matcher.find(&facts("x.a.b.test", &h1)), None);
    assert_eq!(matcher.find(&facts("x.b.test", &h1)), Some(0));
}

#[test]
fn the_default_chain_takes_the_rest() {
    let port = Rules { destination_port: Some(80), ..Rules::default() };
    let matcher = ChainMatcher::new(&[port], Some(1)).expect("no overlap");
    assert_eq!(matcher.find(&facts("", &[])), Some(1));
    let matcher = ChainMatcher::new(&[], Some(0)).expect("nothing to overlap");
    assert_eq!(matcher.find(&facts("", &[])), Some(0));
    assert_eq!(ChainMatcher::default().find(&facts("", &[])), None);
}

#[test]
fn loopback_is_local_and_so_is_our_own_address() {
    let of = |source_type| Rules { source_type, ..Rules::default() };
    let rules = [of(SourceType::SameIpOrLoopback), of(SourceType::External)];
    let matcher = ChainMatcher::new(&rules, None).expect("no overlap");
    let from = |remote: Option<SocketAddr>| matcher.find(&Facts { remote, ..facts("", &[]) });
    assert_eq!(from(None), Some(0));
    assert_eq!(from(Some(([127, 0, 0, 1], 1).into())), Some(0));
    assert_eq!(from(Some(([10, 0, 0, 1], 1).into())), Some(0));
    assert_eq!(from(Some(("::1".parse::<IpAddr>().expect("an address"), 1).into())), Some(0));
    assert_eq!(from(Some(([127, 0, 0, 2], 1).into())), Some(1));
}

#[test]
fn overlaps_are_found() {
    assert_eq!(by_names(&[&["a", "b"], &["c"], &["b"]]).err(), Some(Overlap(0, 2)));
    assert_eq!(by_names(&[&["a", "a"]]).err(), Some(Overlap(0, 0)));
    assert_eq!(by_names(&[&[], &[""]]).err(), Some(Overlap(0, 1)));
    let net = |text: &str| Rules {
        source: vec![(text.parse().expect("an address"), 24)],
        ..Rules::default()
    };
    let same = [net("1.2.3.4"), net("1.2.3.5")];
    assert_eq!(ChainMatcher::new(&same, None).err(), Some(Overlap(0, 1)));
    assert!(ChainMatcher::new(&[net("1.2.3.4"), net("1.2.4.4")], None).is_ok());
}

#[test]
fn ten_thousand_chains_are_one_node() {
    let rules: Vec<Rules> = (0..10_000)
        .map(|n| Rules {
            server_names: vec![format!("s{n}.example.com").into()],
            ..Rules::default()
        })
        .collect();
    let matcher = ChainMatcher::new(&rules, None).expect("no overlap");
    assert_eq!(matcher.nodes.len(), 1);
    assert_eq!(matcher.find(&facts("s777.example.com", &[])), Some(777));
}

/// How well a chain fits at a level: `None` not at all, 0 does not ask, more is better.
type Score<'a> = dyn Fn(&Rules) -> Option<usize> + 'a;

/// The rules as they are written: level by level over the whole list.
fn reference(rules: &[Rules], facts: &Facts<'_>) -> Option<u32> {
    let mut alive: Vec<usize> = (0..rules.len()).collect();
    let local = facts.local.unwrap_or(NO_ADDRESS);
    let remote = facts.remote.unwrap_or(NO_ADDRESS);
    let direct = facts.direct_remote.unwrap_or(NO_ADDRESS);
    let levels: [&Score; 9] = [
        &|rules| {
            fit(rules.destination_port.as_slice(), |port| {
                usize::from(facts.local.is_some_and(|local| local.port() == *port))
            })
        },
        &|rules| fit(&rules.destination, |net| covers(*net, local.ip())),
        &|rules| fit(&rules.server_names, |name| name_fits(name, facts.server_name)),
        &|rules| {
            let wanted = &rules.transport_protocol;
            let list = if wanted.is_empty() { &[][..] } else { std::slice::from_ref(wanted) };
            fit(list, |name| usize::from(**name == *facts.transport_protocol))
        },
        &|rules| {
            fit(&rules.application_protocols, |name| {
                let offered = facts.application_protocols;
                let at = offered.iter().position(|offer| **offer == *name.as_bytes());
                at.map_or(0, |at| offered.len() - at)
            })
        },
        &|rules| fit(&rules.direct_source, |net| covers(*net, direct.ip())),
        &|rules| {
            let near = facts.remote.is_none_or(|remote| {
                remote.ip() == IpAddr::from([127, 0, 0, 1])
                    || remote.ip() == IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
                    || facts.local.is_some_and(|local| local.ip() == remote.ip())
            });
            match rules.source_type {
                SourceType::Any => Some(0),
                SourceType::SameIpOrLoopback => near.then_some(1),
                SourceType::External => (!near).then_some(1),
            }
        },
        &|rules| fit(&rules.source, |net| covers(*net, remote.ip())),
        &|rules| {
            fit(&rules.source_ports, |port| {
                usize::from(facts.remote.is_some_and(|remote| remote.port() == *port))
            })
        },
    ];
    for level in levels {
        let best = alive.iter().filter_map(|at| level(&rules[*at])).max()?;
        alive.retain(|at| level(&rules[*at]) == Some(best));
    }
    Some(alive[0] as u32)
}

fn fit<T>(list: &[T], score: impl Fn(&T) -> usize) -> Option<usize> {
    if list.is_empty() {
        return Some(0);
    }
    list.iter().map(score).max().filter(|best| *best > 0)
}

/// One more than the length of a prefix that covers the address, else 0.
fn covers((net, len): (IpAddr, u8), ip: IpAddr) -> usize {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (net, ip) = (bits(net), bits(ip));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let same =
        net.len() == ip.len() && (0..usize::from(len)).all(|at| bit(&net, at) == bit(&ip, at));
    if same { usize::from(len) + 1 } else { 0 }
}

fn name_fits(wanted: &str, name: &str) -> usize {
    if wanted == name {
        return usize::MAX;
    }
    let suffix = wanted.starts_with('.') && wanted.len() > 1 && name.ends_with(wanted);
    if suffix && name.len() > wanted.len() { wanted.len() } else { 0 }
}

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        prop::sample::select(vec!["127.0.0.1", "10.0.0.1", "10.0.1.1", "10.1.0.1", "192.168.1.2"]),
        prop::sample::select(vec!["::1", "fd00::1", "fd00:1::1", "fd00::1:1"]),
    ]
    .prop_map(|text| text.parse().expect("an address"))
}

fn nets() -> impl Strategy<Value = Vec<(IpAddr, u8)>> {
    let net = (ip(), prop::sample::select(vec![0u8, 8, 16, 24, 31, 32, 64, 128]))
        .prop_map(|(ip, len)| (ip, if ip.is_ipv4() { len.min(32) } else { len }));
    sometimes(net, 2)
}

/// Mostly nothing, else a short list.
fn sometimes<S: Strategy>(item: S, max: usize) -> impl Strategy<Value = Vec<S::Value>>
where
    S::Value: Clone,
{
    (any::<bool>(), prop::collection::vec(item, 1..=max))
        .prop_map(|(asks, list)| if asks { list } else { Vec::new() })
}

const NAMES: [&str; 7] = ["a.test", "b.test", "x.a.test", ".a.test", ".test", ".x.a.test", "test"];

fn text(from: &'static [&'static str]) -> impl Strategy<Value = Box<str>> {
    prop::sample::select(from).prop_map(Box::from)
}

fn rules() -> impl Strategy<Value = Rules> {
    (
        prop::option::of(prop::sample::select(vec![80u16, 443])),
        nets(),
        sometimes(text(&NAMES), 2),
        text(&["", "", "tls", "raw_buffer"]),
        sometimes(text(&["h2", "http/1.1", "x"]), 2),
        nets(),
        prop::sample::select(vec![
            SourceType::Any,
            SourceType::SameIpOrLoopback,
            SourceType::External,
        ]),
        nets(),
        sometimes(prop::sample::select(vec![1000u16, 2000]), 2),
    )
        .prop_map(
            |(
                destination_port,
                destination,
                server_names,
                transport_protocol,
                alpn,
                direct,
                source_type,
                source,
                source_ports,
            )| Rules {
                destination_port,
                destination,
                server_names,
                transport_protocol,
                application_protocols: alpn,
                direct_source: direct,
                source_type,
                source,
                source_ports,
            },
        )
}

/// A connection: ends, server name, whether it is TLS, protocols on offer.
type Seen = (
    Option<SocketAddr>,
    Option<SocketAddr>,
    Option<SocketAddr>,
    &'static str,
    bool,
    Vec<Box<[u8]>>,
);

fn seen() -> impl Strategy<Value = Seen> {
    let end = || {
        let port = prop::sample::select(vec![80u16, 443, 1000, 2000, 3000]);
        prop::option::weighted(0.9, (ip(), port).prop_map(SocketAddr::from))
    };
    let name =
        prop::sample::select(&["", "a.test", "x.a.test", "y.x.a.test", "c.test", "test"][..]);
    let offer = prop::sample::select(vec!["h2", "http/1.1", "y"])
        .prop_map(|text| Box::from(text.as_bytes()));
    (end(), end(), end(), name, any::<bool>(), sometimes(offer, 3))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// The index finds what a look at every chain finds.
    #[test]
    fn as_the_rules_say(
        list in prop::collection::vec(rules(), 1..8),
        seen in prop::collection::vec(seen(), 20),
    ) {
        // Chains that clash with an earlier one are left out, as a configuration with them is.
        let mut kept: Vec<Rules> = Vec::new();
        for rules in list {
            kept.push(rules);
            if ChainMatcher::new(&kept, None).is_err() {
                kept.pop();
            }
        }
        let matcher = ChainMatcher::new(&kept, None).expect("what clashes is left out");
        for (local, remote, direct_remote, server_name, tls, alpn) in &seen {
            let facts = Facts {
                local: *local,
                remote: *remote,
                direct_remote: *direct_remote,
                server_name,
                transport_protocol: if *tls { "tls" } else { "raw_buffer" },
                application_protocols: alpn,
            };
            prop_assert_eq!(matcher.find(&facts), reference(&kept, &facts), "{:?}", facts);
        }
    }
}
