use super::*;

#[test]
fn every_known_name_is_found_and_spelled_in_lower_case() {
    for (id, text) in TEXT.iter().enumerate() {
        let known = KnownName::lookup(text.as_bytes());
        assert_eq!(known.map(|k| k as usize), Some(id), "{text}");
        assert_eq!(text.to_ascii_lowercase(), *text);
    }
}

#[test]
fn near_misses_are_not_found() {
    for text in TEXT {
        let longer = format!("{text}x");
        assert_eq!(KnownName::lookup(longer.as_bytes()), None);
        let upper = text.to_ascii_uppercase();
        if upper != *text {
            assert_eq!(KnownName::lookup(upper.as_bytes()), None);
        }
    }
    assert_eq!(KnownName::lookup(b""), None);
}

#[test]
fn configured_names_are_lower_cased_and_checked() {
    assert_eq!(HeaderName::new("X-Request-ID"), Some(HeaderName::Known(KnownName::XRequestId)));
    assert_eq!(HeaderName::new("X-Own").map(|n| n.as_bytes().to_vec()), Some(b"x-own".to_vec()));
    assert_eq!(HeaderName::new("no spaces"), None);
    assert_eq!(HeaderName::new(""), None);
}
