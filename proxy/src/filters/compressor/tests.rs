use std::io::Read;

use ringway_xds::api::envoy::extensions::compression::brotli::compressor::v3::Brotli;

use super::accept::{Choice, choose};
use super::codec::Library;

#[test]
fn the_client_is_weighed_as_envoy_does() {
    const OFFERED: [&str; 3] = ["br", "zstd", "gzip"];
    let choose = |accept: &str| choose(accept.as_bytes(), &OFFERED);
    assert_eq!(choose("gzip"), Choice::Named("gzip"));
    assert_eq!(choose("gzip, br, zstd"), Choice::Named("gzip"));
    assert_eq!(choose("gzip;q=0.5, br;q=0.9"), Choice::Named("br"));
    assert_eq!(choose("*"), Choice::Any("br"));
    assert_eq!(choose("br;q=0, *"), Choice::Any("zstd"));
    assert_eq!(choose("identity"), Choice::Identity);
    assert_eq!(choose("identity;q=0.5, *;q=0.4"), Choice::Identity);
    for none in ["", "nope", "GZIP", "gzip;q=x", "br;q=0, zstd;q=0, gzip;q=0", ",;,"] {
        assert_eq!(choose(none), Choice::Invalid, "{none}");
    }
    assert_eq!(super::accept::choose(b"*", &[]), Choice::Invalid);
}

#[test]
fn gzip_comes_out_piece_by_piece() {
    let mut encoder = Library::Gzip { level: 6, window_bits: 12 }.encoder();
    let (mut wire, mut want) = (Vec::new(), Vec::new());
    for piece in 0..50u32 {
        let bytes: Vec<u8> = (0..997).map(|i| (i * (piece % 5 + 1)) as u8).collect();
        want.extend_from_slice(&bytes);
        let mut out = Vec::new();
        encoder.write(&bytes, &mut out);
        encoder.flush(&mut out);
        assert!(!out.is_empty(), "piece {piece}");
        wire.extend_from_slice(&out);
    }
    encoder.finish(&mut wire);
    let mut got = Vec::new();
    flate2::read::GzDecoder::new(&*wire).read_to_end(&mut got).expect("gzip");
    assert_eq!(got, want);
}

#[test]
fn zstd_and_brotli_come_out_piece_by_piece() {
    let options = Brotli::default();
    let libraries = [Library::Zstd { level: 3, checksum: true }, super::codec::brotli_of(&options)];
    for library in libraries {
        let mut encoder = library.encoder();
        let (mut wire, mut want) = (Vec::new(), Vec::new());
        for piece in 0..20u32 {
            let bytes: Vec<u8> = (0..9997).map(|i| (i * (piece % 5 + 1)) as u8).collect();
            want.extend_from_slice(&bytes);
            let before = wire.len();
            encoder.write(&bytes, &mut wire);
            encoder.flush(&mut wire);
            assert!(wire.len() > before, "piece {piece}");
        }
        encoder.finish(&mut wire);
        let got = match library.encoding() {
            "zstd" => zstd::stream::decode_all(&*wire).expect("zstd"),
            _ => {
                let mut got = Vec::new();
                brotli::Decompressor::new(&*wire, 4096).read_to_end(&mut got).expect("brotli");
                got
            }
        };
        assert!(got == want, "{}", library.encoding());
    }
}
