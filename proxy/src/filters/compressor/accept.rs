//! What a client takes (RFC 9110 section 12.5.3), weighed as Envoy does.

use ringway_wire::chars::list_members;

/// What is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice<'o> {
    /// An encoding the client names.
    Named(&'o str),
    /// It takes any: the first that is offered.
    Any(&'o str),
    /// It wants none.
    Identity,
    /// Nothing it takes is offered.
    Invalid,
}

/// Chooses among the encodings that are offered, the first one preferred.
pub(super) fn choose<'o>(accept: &[u8], offered: &[&'o str]) -> Choice<'o> {
    let mut offered = offered.to_vec();
    let mut best: (&[u8], f32) = (b"", 0.0);
    let mut taken = Vec::new();
    for token in list_members(accept) {
        let Some((name, quality)) = weighed(token) else { continue };
        if quality == 0.0 {
            offered.retain(|have| have.as_bytes() != name);
        }
        taken.push((name, quality));
    }
    for (name, quality) in taken {
        let known = name == b"identity"
            || name == b"*"
            || offered.iter().any(|have| have.as_bytes() == name);
        if known && quality > best.1 {
            best = (name, quality);
        }
    }
    match best {
        (_, quality) if quality <= 0.0 => Choice::Invalid,
        (b"identity", _) => Choice::Identity,
        (b"*", _) => offered.first().map_or(Choice::Invalid, |first| Choice::Any(first)),
        (name, _) => offered
            .iter()
            .find(|have| have.as_bytes() == name)
            .map_or(Choice::Invalid, |have| Choice::Named(have)),
    }
}

/// An encoding and its `q`; `None` for one whose `q` is no number.
fn weighed(token: &[u8]) -> Option<(&[u8], f32)> {
    let mut parts = token.splitn(2, |byte| *byte == b';');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let Some(params) = parts.next() else { return Some((name, 1.0)) };
    let mut pair = params.splitn(2, |byte| *byte == b'=');
    let key = pair.next().unwrap_or_default().trim_ascii();
    match pair.next() {
        Some(value) if key.eq_ignore_ascii_case(b"q") => {
            let text = std::str::from_utf8(value.trim_ascii()).ok()?;
            Some((name, text.parse().ok()?))
        }
        _ => Some((name, 1.0)),
    }
}
