use super::Uuid;

#[test]
fn version_and_variant_are_set_whatever_the_random_bits() {
    for random in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
        let text = Uuid::v4(random).text();
        let text = std::str::from_utf8(text.as_bytes()).unwrap();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
        for at in [8, 13, 18, 23] {
            assert_eq!(&text[at..at + 1], "-");
        }
    }
}

#[test]
fn text_is_the_bits_in_order() {
    let text = Uuid::v4(0x0123_4567_89ab_cdef_8123_4567_89ab_cdef).text();
    assert_eq!(text.as_bytes(), b"01234567-89ab-4def-8123-456789abcdef");
}
