use ringway_wire::proxy_protocol::{Parsed, parse};

use super::*;

fn config(version: Version, pass: PassTlvs, added: &[(u8, &str)]) -> ProxyProtocol {
    let added = added.iter().map(|(kind, value)| (*kind, Box::from(value.as_bytes()))).collect();
    ProxyProtocol { version, pass, added }
}

fn whom(tlvs: &[(u8, &str)]) -> OnBehalf {
    OnBehalf {
        source: Some(SocketAddr::from(([10, 0, 0, 1], 1111))),
        destination: Some(SocketAddr::from(([10, 0, 0, 2], 80))),
        tlvs: tlvs.iter().map(|(kind, value)| (*kind, Box::from(value.as_bytes()))).collect(),
    }
}

/// The TLVs of a version 2 header, as text.
fn tlvs(header: &[u8]) -> Vec<(u8, String)> {
    let Ok(Parsed::Header(parsed)) = parse(header) else { panic!("no header: {header:?}") };
    assert_eq!(parsed.len, header.len());
    parsed.tlvs().map(|(kind, value)| (kind, String::from_utf8_lossy(value).into())).collect()
}

fn pairs(list: &[(u8, &str)]) -> Vec<(u8, String)> {
    list.iter().map(|(kind, value)| (*kind, (*value).to_owned())).collect()
}

#[test]
fn version_1_is_a_line() {
    let line = encode(&config(Version::V1, PassTlvs::All, &[(1, "x")]), &whom(&[(2, "y")]));
    assert_eq!(line, b"PROXY TCP4 10.0.0.1 10.0.0.2 1111 80\r\n");
    let unknown = encode(&config(Version::V1, PassTlvs::None, &[]), &OnBehalf::default());
    assert_eq!(unknown, b"PROXY UNKNOWN\r\n");
}

#[test]
fn version_2_adds_its_own_and_passes_what_it_may() {
    let down = [(0xe1, "dn1"), (0xe2, "dn2")];
    let of =
        |pass, added: &[(u8, &str)]| tlvs(&encode(&config(Version::V2, pass, added), &whom(&down)));
    assert_eq!(of(PassTlvs::None, &[]), pairs(&[]));
    assert_eq!(of(PassTlvs::All, &[]), pairs(&down));
    assert_eq!(of(PassTlvs::Types(vec![0xe2]), &[]), pairs(&[(0xe2, "dn2")]));
    let own = [(0xe1, "cfg1"), (0xe5, "cfg5")];
    assert_eq!(of(PassTlvs::All, &own), pairs(&[(0xe1, "cfg1"), (0xe5, "cfg5"), (0xe2, "dn2")]));
    assert_eq!(of(PassTlvs::None, &own), pairs(&own));
}

#[test]
fn what_does_not_fit_is_left_out() {
    let long = "x".repeat(60_000);
    let config = config(Version::V2, PassTlvs::All, &[(1, &long)]);
    let header = encode(&config, &whom(&[(2, &long)]));
    assert_eq!(tlvs(&header), pairs(&[(1, &long)]));
}
