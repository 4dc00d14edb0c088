//! SETTINGS (RFC 9113 section 6.5, RFC 8441 section 3).

use super::error::{ConnectionError, ErrorCode};
use super::{FRAME_SIZE_MIN, HEADER_TABLE_SIZE, INITIAL_WINDOW, Role, WINDOW_MAX};

/// Identifier of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SettingId(pub u16);

impl SettingId {
    /// Size of the dynamic table the sender keeps for decoding, in bytes.
    pub const HEADER_TABLE_SIZE: Self = Self(0x1);
    /// Whether the client takes pushed streams: 0 or 1.
    pub const ENABLE_PUSH: Self = Self(0x2);
    /// How many streams the receiver may have open.
    pub const MAX_CONCURRENT_STREAMS: Self = Self(0x3);
    /// Window each new stream starts with, in bytes.
    pub const INITIAL_WINDOW_SIZE: Self = Self(0x4);
    /// Largest payload of a frame, in bytes.
    pub const MAX_FRAME_SIZE: Self = Self(0x5);
    /// Largest header list, in bytes with 32 added per line; advice only.
    pub const MAX_HEADER_LIST_SIZE: Self = Self(0x6);
    /// Whether the server takes extended CONNECT: 0 or 1 (RFC 8441 section 3).
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(0x8);
}

/// The settings one end has announced. `Default` is what holds before the first SETTINGS frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// See [`SettingId::HEADER_TABLE_SIZE`].
    pub header_table_size: u32,
    /// See [`SettingId::ENABLE_PUSH`].
    pub enable_push: bool,
    /// See [`SettingId::MAX_CONCURRENT_STREAMS`]; `None`: no limit.
    pub max_concurrent_streams: Option<u32>,
    /// See [`SettingId::INITIAL_WINDOW_SIZE`].
    pub initial_window_size: u32,
    /// See [`SettingId::MAX_FRAME_SIZE`].
    pub max_frame_size: u32,
    /// See [`SettingId::MAX_HEADER_LIST_SIZE`]; `None`: no limit.
    pub max_header_list_size: Option<u32>,
    /// See [`SettingId::ENABLE_CONNECT_PROTOCOL`].
    pub enable_connect_protocol: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            header_table_size: HEADER_TABLE_SIZE,
            enable_push: true,
            max_concurrent_streams: None,
            initial_window_size: INITIAL_WINDOW,
            max_frame_size: FRAME_SIZE_MIN,
            max_header_list_size: None,
            enable_connect_protocol: false,
        }
    }
}

impl Settings {
    /// Takes over what a SETTINGS frame changes.
    pub fn apply(&mut self, change: &SettingsChange) {
        let keep = |new: Option<u32>, old: &mut u32| *old = new.unwrap_or(*old);
        keep(change.header_table_size, &mut self.header_table_size);
        keep(change.initial_window_size, &mut self.initial_window_size);
        keep(change.max_frame_size, &mut self.max_frame_size);
        self.enable_push = change.enable_push.unwrap_or(self.enable_push);
        self.enable_connect_protocol =
            change.enable_connect_protocol.unwrap_or(self.enable_connect_protocol);
        self.max_concurrent_streams = change.max_concurrent_streams.or(self.max_concurrent_streams);
        self.max_header_list_size = change.max_header_list_size.or(self.max_header_list_size);
    }

    /// What to write so that the peer, who assumes the defaults, knows these: see
    /// [`frame::settings`](super::frame::settings).
    pub fn entries(&self) -> impl Iterator<Item = (SettingId, u32)> {
        let usual = Self::default();
        let other = |id, new: u32, old: u32| (new != old).then_some((id, new));
        [
            other(SettingId::HEADER_TABLE_SIZE, self.header_table_size, usual.header_table_size),
            other(SettingId::ENABLE_PUSH, u32::from(self.enable_push), 1),
            self.max_concurrent_streams.map(|n| (SettingId::MAX_CONCURRENT_STREAMS, n)),
            other(SettingId::INITIAL_WINDOW_SIZE, self.initial_window_size, INITIAL_WINDOW),
            other(SettingId::MAX_FRAME_SIZE, self.max_frame_size, FRAME_SIZE_MIN),
            self.max_header_list_size.map(|n| (SettingId::MAX_HEADER_LIST_SIZE, n)),
            other(SettingId::ENABLE_CONNECT_PROTOCOL, u32::from(self.enable_connect_protocol), 0),
        ]
        .into_iter()
        .flatten()
    }
}

/// What one SETTINGS frame says; `None`: nothing. Where it says a thing twice, the last counts, as
/// the settings take effect in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SettingsChange {
    /// See [`SettingId::HEADER_TABLE_SIZE`].
    pub header_table_size: Option<u32>,
    /// The least value of [`SettingId::HEADER_TABLE_SIZE`] in the frame: an encoder has to shrink
    /// to it in between (RFC 7541 section 4.2).
    pub header_table_size_min: Option<u32>,
    /// See [`SettingId::ENABLE_PUSH`].
    pub enable_push: Option<bool>,
    /// See [`SettingId::MAX_CONCURRENT_STREAMS`].
    pub max_concurrent_streams: Option<u32>,
    /// See [`SettingId::INITIAL_WINDOW_SIZE`]; at most 2^31 - 1.
    pub initial_window_size: Option<u32>,
    /// See [`SettingId::MAX_FRAME_SIZE`]; 16,384 to 16,777,215.
    pub max_frame_size: Option<u32>,
    /// See [`SettingId::MAX_HEADER_LIST_SIZE`].
    pub max_header_list_size: Option<u32>,
    /// See [`SettingId::ENABLE_CONNECT_PROTOCOL`].
    pub enable_connect_protocol: Option<bool>,
    /// How many settings the frame held, unknown ones included.
    pub count: u32,
}

impl SettingsChange {
    /// Reads the payload of a SETTINGS frame (without ACK), as the one who is `role` gets it: from
    /// the stream of a connection, or from the `HTTP2-Settings` header of an upgrade.
    ///
    /// # Errors
    /// A length that is no multiple of 6, or a value out of its range.
    pub fn parse(payload: &[u8], role: Role) -> Result<Self, ConnectionError> {
        let (entries, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(ConnectionError::frame_size(
                "the length of a SETTINGS frame must be a multiple of 6",
            ));
        }
        let mut change = Self { count: entries.len() as u32, ..Self::default() };
        for [a, b, value @ ..] in entries {
            let id = SettingId(u16::from_be_bytes([*a, *b]));
            change.set(id, u32::from_be_bytes(*value), role)?;
        }
        Ok(change)
    }

    fn set(&mut self, id: SettingId, value: u32, role: Role) -> Result<(), ConnectionError> {
        match id {
            SettingId::HEADER_TABLE_SIZE => {
                let least = self.header_table_size_min.map_or(value, |least| least.min(value));
                self.header_table_size_min = Some(least);
                self.header_table_size = Some(value);
            }
            SettingId::ENABLE_PUSH => {
                let on = flag(value, "ENABLE_PUSH must be 0 or 1")?;
                if on && role == Role::Client {
                    return Err(ConnectionError::protocol(
                        "a server must not send ENABLE_PUSH = 1",
                    ));
                }
                self.enable_push = Some(on);
            }
            SettingId::MAX_CONCURRENT_STREAMS => self.max_concurrent_streams = Some(value),
            SettingId::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => {
                return Err(ConnectionError::new(
                    ErrorCode::FLOW_CONTROL_ERROR,
                    "INITIAL_WINDOW_SIZE must be at most 2147483647",
                ));
            }
            SettingId::INITIAL_WINDOW_SIZE => self.initial_window_size = Some(value),
            SettingId::MAX_FRAME_SIZE if !(FRAME_SIZE_MIN..1 << 24).contains(&value) => {
                return Err(ConnectionError::protocol(
                    "MAX_FRAME_SIZE must be from 16384 to 16777215",
                ));
            }
            SettingId::MAX_FRAME_SIZE => self.max_frame_size = Some(value),
            SettingId::MAX_HEADER_LIST_SIZE => self.max_header_list_size = Some(value),
            SettingId::ENABLE_CONNECT_PROTOCOL => {
                let on = flag(value, "ENABLE_CONNECT_PROTOCOL must be 0 or 1")?;
                self.enable_connect_protocol = Some(on);
            }
            // Unknown settings are to be ignored (RFC 9113 section 6.5.2).
            _ => {}
        }
        Ok(())
    }
}

fn flag(value: u32, reason: &'static str) -> Result<bool, ConnectionError> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ConnectionError::protocol(reason)),
    }
}
