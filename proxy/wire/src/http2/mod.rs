//! HTTP/2 (RFC 9113) with HPACK (RFC 7541) and extended CONNECT (RFC 8441): frames to events, and
//! heads to frames.
//!
//! A [`Decoder`] turns the bytes of one direction into [`Event`]s. DATA is handed out as ranges of
//! the input, piece by piece as it comes; header blocks land in a reusable [`HeaderBlock`], from
//! where they move into a [`RequestHead`](crate::RequestHead) by swapping buffers. An [`Encoder`]
//! writes heads and trailers; [`frame`] writes everything else.
//!
//! Nothing here knows which streams are open: stream states, windows, `content-length` against
//! the body and floods are the session's. What can be judged from the bytes alone is judged here,
//! as an error of the connection ([`ConnectionError`]) or of one stream ([`StreamError`]); after a
//! stream's error the compression state is still in step, and the connection may go on.
//!
//! | Module | Holds |
//! |---|---|
//! | [`frame`] | frame headers, kinds and flags; writers of all frames but heads |
//! | `decoder` | bytes of a connection to [`Event`]s |
//! | `block` | [`HeaderBlock`]: one decoded block, its validity |
//! | `hpack` | tables, Huffman code, integers, field lines |
//! | `encoder` | heads and trailers to HEADERS and CONTINUATION |

mod block;
mod decoder;
mod encoder;
mod error;
pub mod frame;
mod hpack;
mod settings;

pub use block::HeaderBlock;
pub use decoder::{Decoder, Event, Step};
pub use encoder::Encoder;
pub use error::{ConnectionError, ErrorCode, H2Rule, MESSAGING_RULE, StreamError};
pub use settings::{SettingId, Settings, SettingsChange};

use crate::http1::UnderscoreAction;

/// What a client sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The initial flow-control window of a connection and of each stream, in bytes.
pub const INITIAL_WINDOW: u32 = 65_535;

/// The largest flow-control window, in bytes (RFC 9113 section 6.9.1).
pub const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Largest payload every peer must accept, in bytes (RFC 9113 section 4.2).
pub const FRAME_SIZE_MIN: u32 = 16_384;

/// Size of the dynamic table a peer may use before it is told otherwise, in bytes.
pub const HEADER_TABLE_SIZE: u32 = 4_096;

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// Reads requests; expects the preface first.
    Server,
    /// Reads responses.
    Client,
}

/// What a [`Decoder`] accepts. `Default` is Envoy's default for requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest payload of a frame, in bytes: the `SETTINGS_MAX_FRAME_SIZE` sent.
    pub max_frame_size: u32,
    /// Most bytes of all names and values of a block, pseudo-headers and cookie crumbs included,
    /// nothing added per line: Envoy's `max_request_headers_kb` × 1024. More end the stream.
    pub header_list_bytes_max: usize,
    /// Most lines of a block, pseudo-headers included and cookie crumbs left out, as Envoy counts
    /// for `max_headers_count`. More end the stream.
    pub headers_count_max: usize,
    /// Most CONTINUATION frames behind one HEADERS frame; more end the connection.
    pub continuations_max: u32,
    /// What happens to names with an underscore (`headers_with_underscores_action`).
    pub underscores: UnderscoreAction,
    /// Whether `:protocol` is accepted, that is, `SETTINGS_ENABLE_CONNECT_PROTOCOL` was sent
    /// (Envoy's `allow_connect`).
    pub extended_connect: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_size: FRAME_SIZE_MIN,
            header_list_bytes_max: 60 * 1024,
            headers_count_max: 100,
            continuations_max: 32,
            underscores: UnderscoreAction::Allow,
            extended_connect: false,
        }
    }
}

#[cfg(test)]
mod tests;
