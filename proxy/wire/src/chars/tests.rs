use super::*;

#[test]
fn field_values_reject_exactly_the_control_characters() {
    for byte in 0..=255u8 {
        let want = byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        // In the vector part and in the remainder.
        for len in [1, 15, 16, 17, 40] {
            for at in [0, len / 2, len - 1] {
                let mut value = vec![b'a'; len];
                value[at] = byte;
                assert_eq!(is_field_value(&value), want, "byte {byte:#x} at {at} of {len}");
            }
        }
    }
}

#[test]
fn tokens_follow_rfc_9110() {
    assert!(is_token(b"x-a_b.c!#$%&'*+^`|~9"));
    for bad in
        [&b""[..], b"a b", b"a:", b"a\t", b"a(b", b"a,b", b"\xc3\xa9", b"a\0", b"a\"", b"[a]"]
    {
        assert!(!is_token(bad), "{bad:?}");
    }
}

#[test]
fn numbers_are_digits_only() {
    assert_eq!(parse_u64(b"0"), Some(0));
    assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    for bad in [&b""[..], b"18446744073709551616", b"+1", b"-1", b" 1", b"1 ", b"0x1", b"1,1"] {
        assert_eq!(parse_u64(bad), None, "{bad:?}");
    }
    for n in [0, 7, 10, 12_345, u64::MAX] {
        assert_eq!(Decimal::new(n).as_bytes(), n.to_string().as_bytes());
    }
}

#[test]
fn lists_are_split_and_trimmed() {
    let members: Vec<_> = list_members(b" a ,, b\t,c").collect();
    assert_eq!(members, [&b"a"[..], b"b", b"c"]);
}
