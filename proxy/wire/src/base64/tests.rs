use proptest::prelude::*;

use super::*;

fn encoded(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(input, &mut out);
    out
}

fn decoded(input: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decode(input, &mut out).then_some(out)
}

#[test]
fn the_vectors_of_the_standard() {
    for (plain, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(encoded(plain.as_bytes()), text.as_bytes());
        assert_eq!(decoded(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
    }
}

#[test]
fn what_is_no_base64_is_refused() {
    for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm9v\n", "Zm 9", "Zg=v", "Zm-v"]
    {
        assert_eq!(decoded(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn pieces_may_follow_each_other() {
    assert_eq!(decoded(b"Zg==Zm8=").as_deref(), Some(&b"ffo"[..]));
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decoded(&encoded(&input)), Some(input));
    }

    #[test]
    fn only_what_encoding_makes_is_decoded(input in "[A-Za-z0-9+/=]{0,40}") {
        if let Some(plain) = decoded(input.as_bytes()) {
            // Padding within the text is what tells pieces apart.
            prop_assume!(!input.trim_end_matches('=').contains('='));
            prop_assert_eq!(encoded(&plain), input.as_bytes());
        }
    }
}
