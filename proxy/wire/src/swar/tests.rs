use super::*;

#[test]
fn every_lane_is_exact() {
    // Each byte in each lane between neighbours that would borrow or carry.
    for neighbour in [0x00, 0x1f, 0x20, b'a', 0x7f, 0x80, 0xff] {
        for byte in 0..=255u8 {
            for lane in 0..8 {
                let mut bytes = [neighbour; 8];
                bytes[lane] = byte;
                let word = u64::from_le_bytes(bytes);
                let hit = controls(word) >> (lane * 8 + 7) & 1 == 1;
                assert_eq!(hit, is_control(byte), "{byte:#x} in lane {lane}");
                let (lower, count) = lower_word(word);
                let good = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
                assert_eq!(count, bytes.iter().take_while(|b| good(b)).count());
                assert_eq!(lower, u64::from_le_bytes(bytes.map(|b| b.to_ascii_lowercase())));
            }
        }
    }
}
