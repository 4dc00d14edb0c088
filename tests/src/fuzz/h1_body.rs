//! Bodies: chunked, by length, until close; decoded in pieces, and moved without being looked at.

use super::cuts;
use ringway_wire::HeaderMap;
use ringway_wire::http1::{BodyDecoder, BodyKind, H1Rule, HeadLimits, ParseOptions};

/// What means something in a chunked body.
pub const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "0",
    "1",
    "a",
    "F",
    "00000000000000000001",
    "fffffffffffffff",
    "ffffffffffffffff",
    ";",
    ";name=value",
    ";q=\"a;b\"",
    " ",
    "\t",
    "0x1",
    "-1",
    "0\r\nx: y\r\n\r\n",
    "content-length: 1\r\n",
    "trailer: x\r\n",
    "\u{0}",
];

/// What a decoder made of an input.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    body: Vec<u8>,
    used: usize,
    trailers: Option<HeaderMap>,
    /// What the end of the connection means at this point.
    end: Result<(), H1Rule>,
}

/// Every kind of body, every way to cut it: always the same body, or the same refusal.
pub fn run(input: &[u8]) {
    let tight = HeadLimits { head_bytes_max: 64, headers_count_max: 2 };
    for limits in [HeadLimits::default(), tight] {
        for kind in [BodyKind::Chunked, BodyKind::Length(7), BodyKind::UntilClose] {
            let whole = decode(kind, &limits, input, &[input.len()], false);
            for ends in cuts::ways(input) {
                let cut = decode(kind, &limits, input, &ends, false);
                assert_eq!(cut, whole, "{kind:?} of {limits:?}, pieces that end at {ends:?}");
                let moved = decode(kind, &limits, input, &ends, true);
                assert_eq!(moved, whole, "{kind:?} of {limits:?}, moved, pieces {ends:?}");
            }
            if let (BodyKind::Length(length), Ok(outcome)) = (kind, &whole) {
                assert_eq!(outcome.body.len() as u64, length.min(input.len() as u64));
            }
        }
    }
}

/// `moves`: what is known to be body is counted as moved by the caller, as splicing does.
fn decode(
    kind: BodyKind,
    limits: &HeadLimits,
    input: &[u8],
    ends: &[usize],
    moves: bool,
) -> Result<Outcome, H1Rule> {
    let options = ParseOptions { enable_trailers: true, ..ParseOptions::default() };
    let mut decoder = BodyDecoder::request(kind, limits, &options);
    let (mut body, mut used) = (Vec::new(), 0);
    for &end in ends {
        while used < end && !decoder.is_done() {
            let known = decoder.known_left().unwrap_or(0);
            if moves && known > 0 {
                let available = (end - used) as u64;
                let moved = decoder.skip(available);
                assert_eq!(moved, available.min(known), "skip takes what known_left says");
                body.extend_from_slice(&input[used..][..moved as usize]);
                used += moved as usize;
                continue;
            }
            let step = decoder.decode(&input[used..end]).map_err(|error| error.rule)?;
            assert!(step.consumed > 0, "no progress at {used} of {end}");
            assert!(step.data.end <= step.consumed && step.done == decoder.is_done());
            body.extend_from_slice(&input[used..end][step.data]);
            used += step.consumed;
        }
    }
    let end = decoder.finish().map_err(|error| error.rule);
    Ok(Outcome { body, used, trailers: decoder.take_trailers(), end })
}
