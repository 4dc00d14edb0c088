//! Against another implementation, both ways.

use super::*;

fn peer_decodes(peer: &mut loona_hpack::Decoder<'_>, coded: &[u8]) -> Result<Lines, String> {
    let lines = peer.decode(coded).map_err(|error| format!("{error:?}"))?;
    Ok(lines.into_iter().collect())
}

#[test]
fn stories_encoded_here_and_decoded_there() {
    let Some(folder) = stories() else { return };
    let mut blocks = 0;
    for story in json_files(&folder.join("raw-data")) {
        let (mut encoder, mut peer) = (Encoder::default(), loona_hpack::Decoder::new());
        for case in cases(&story) {
            let head: Lines =
                headers_of(&case).into_iter().filter(|(name, _)| !is_absent(name)).collect();
            let coded = encode(&mut encoder, &head);
            assert_eq!(peer_decodes(&mut peer, &coded), Ok(head), "{}", story.display());
            blocks += 1;
        }
    }
    assert!(blocks > 100);
}

proptest! {
    #[test]
    fn encoded_here_and_decoded_there(
        heads in proptest::collection::vec(
            proptest::collection::vec((name(), value()), 0..12), 1..30),
        size in 0usize..4096,
    ) {
        let (mut encoder, mut peer) = (Encoder::default(), loona_hpack::Decoder::new());
        for (i, head) in heads.iter().enumerate() {
            if i == 7 {
                encoder.set_limit(size, size);
                peer.set_max_allowed_table_size(size);
            }
            let mut head: Lines = head.iter().filter(|(n, _)| !is_absent(n)).cloned().collect();
            // The peer takes no block that is nothing but a change of the table size.
            head.push((b"x-last".to_vec(), Vec::new()));
            let coded = encode(&mut encoder, &head);
            prop_assert_eq!(peer_decodes(&mut peer, &coded), Ok(head));
        }
    }

    #[test]
    fn encoded_there_and_decoded_here(
        heads in proptest::collection::vec(
            proptest::collection::vec((name(), value()), 0..12), 1..30),
    ) {
        let (mut peer, mut decoder) = (loona_hpack::Encoder::new(), Decoder::default());
        for head in heads {
            let coded = peer.encode(head.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
            prop_assert_eq!(decode(&mut decoder, &coded), Ok(head));
        }
    }
}
