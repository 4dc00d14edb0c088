//! From streams to the output.

use ringway_runtime::Chunk;
use ringway_wire::HeaderMap;
use ringway_wire::http2::{ErrorCode, INITIAL_WINDOW, PREFACE, Role, SettingId, frame};

use super::closed::How;
use super::state::{Setup, State};
use super::stream::Key;
use ringway_wire::http1::Sink;

/// Bytes the transport is given ahead of what the kernel takes; above it DATA waits.
pub(super) const HIGH: usize = 256 << 10;
/// Below this, it goes on.
pub(super) const LOW: usize = 128 << 10;
/// Bytes a stream may send before it is the next one's turn.
const QUANTUM: usize = 32 << 10;
/// Settings in one frame.
const SETTINGS_MAX: usize = 16;

/// What kept a stream from sending more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nothing is left, or its own window is closed.
    Stream,
    /// Its turn is over, or the connection's window or the transport is full.
    Turn,
}

impl State {
    /// The first frames: settings (Envoy's, in its order), and the connection's window.
    pub(super) fn greet(&mut self, setup: &Setup) {
        let options = &setup.options;
        let mut entries: Vec<(SettingId, u32)> = Vec::new();
        if setup.role == Role::Client {
            self.out.put(PREFACE);
            entries.push((SettingId::ENABLE_PUSH, 0));
        }
        entries.push((SettingId::HEADER_TABLE_SIZE, options.hpack_table_size));
        let connect = u32::from(options.allow_connect);
        entries.push((SettingId::ENABLE_CONNECT_PROTOCOL, connect));
        entries.push((SettingId::MAX_CONCURRENT_STREAMS, options.max_concurrent_streams));
        entries.push((SettingId::INITIAL_WINDOW_SIZE, options.initial_stream_window));
        entries.extend(options.custom_settings.iter().map(|(id, value)| (SettingId(*id), *value)));
        for part in entries.chunks(SETTINGS_MAX) {
            self.out.count_control();
            frame::settings(part.iter().copied(), &mut self.out);
        }
        if options.hpack_table_size > 4096 {
            self.decoder.set_header_table_size(options.hpack_table_size);
        }
        let more = options.initial_connection_window.saturating_sub(INITIAL_WINDOW);
        if more > 0 {
            // Nothing was consumed so far.
            let _ = self.recv.resize(options.initial_connection_window);
            self.out.count_frame();
            frame::window_update(0, more, &mut self.out);
        }
    }

    /// Gives consumed bytes back to the connection's window.
    pub(super) fn give_connection(&mut self, bytes: u32) {
        if bytes == 0 || !self.is_open() {
            return;
        }
        if let Some(increment) = self.recv.give(bytes) {
            self.out.count_frame();
            frame::window_update(0, increment, &mut self.out);
            self.wake_driver();
        }
    }

    /// Gives consumed bytes back to a stream's window, as long as more may come.
    pub(super) fn give_stream(&mut self, key: Key, bytes: u32) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.remote_ended || !stream.open {
            return;
        }
        if let Some(increment) = stream.recv.give(bytes) {
            let id = stream.id;
            self.out.count_frame();
            frame::window_update(id, increment, &mut self.out);
            self.wake_driver();
        }
    }

    /// Queues body bytes; `end`: they are the last.
    pub(super) fn queue_data(&mut self, setup: &Setup, key: Key, mut chunk: Chunk, end: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.open || stream.said_all() {
            return;
        }
        stream.end_queued = end;
        if chunk.is_empty() && !end {
            return;
        }
        self.wake_driver();
        let waits = self.streams.get(key).is_some_and(|stream| !stream.outbox.is_empty());
        if !waits {
            self.write_frames(setup, key, &mut chunk, usize::MAX);
        }
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !chunk.is_empty() {
            let gauge = setup.env.codec.pending_send_bytes();
            setup.env.stats.gauge_add(gauge, chunk.len() as u64);
            stream.outbox.push(chunk);
            self.schedule(key);
        } else if end && stream.outbox.is_empty() {
            self.finish_sending(setup, key);
        }
    }

    /// Queues trailers, which end the stream.
    pub(super) fn queue_trailers(&mut self, setup: &Setup, key: Key, trailers: &HeaderMap) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if !stream.open || stream.said_all() {
            return;
        }
        stream.end_queued = true;
        self.wake_driver();
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.outbox.is_empty() {
            self.write_trailers(key, trailers);
            self.finish_sending(setup, key);
        } else {
            let mut kept = setup.env.heads.trailers();
            (*kept).clone_from(trailers);
            stream.trailers_queued = Some(kept);
        }
    }

    /// Puts a stream among those whose turn will come.
    pub(super) fn schedule(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let can = stream.outbox.is_empty() || stream.send.room() > 0;
        if stream.open && stream.has_output() && can && !stream.scheduled {
            stream.scheduled = true;
            self.ready.push_back((key, stream.id));
        }
    }

    /// Takes waiting bytes to the output, stream by stream, for as long as there is room.
    pub(super) fn send_waiting(&mut self, setup: &Setup) {
        while self.data_room(setup) > 0
            && let Some((key, id)) = self.ready.pop_front()
        {
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.id == id) else {
                continue;
            };
            stream.scheduled = false;
            if self.send_turn(setup, key) == Stop::Turn {
                self.schedule(key);
                if self.send.room() == 0 {
                    return;
                }
            }
        }
    }

    /// One stream's turn.
    fn send_turn(&mut self, setup: &Setup, key: Key) -> Stop {
        let mut left = QUANTUM;
        loop {
            let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.open) else {
                return Stop::Stream;
            };
            let Some(mut chunk) = stream.outbox.pop_front() else {
                if stream.end_queued {
                    self.finish_sending(setup, key);
                }
                return Stop::Stream;
            };
            let before = chunk.len();
            self.write_frames(setup, key, &mut chunk, left);
            let Some(stream) = self.streams.get_mut(key) else { return Stop::Stream };
            let sent = before - chunk.len();
            left -= sent;
            setup.env.stats.gauge_sub(setup.env.codec.pending_send_bytes(), sent as u64);
            if !chunk.is_empty() {
                stream.outbox.push_front(chunk);
                stream.wake_writer();
                return if stream.send.room() == 0 { Stop::Stream } else { Stop::Turn };
            }
            stream.wake_writer();
        }
    }

    /// Writes DATA frames from the front of `chunk`, at most `limit` bytes, as far as windows and
    /// room allow. The last of the stream's bytes end it, if its end is queued.
    fn write_frames(&mut self, setup: &Setup, key: Key, chunk: &mut Chunk, limit: usize) {
        let mut left = limit;
        while !chunk.is_empty() {
            let room = self.data_room(setup);
            let Some(stream) = self.streams.get_mut(key) else { return };
            let windows = stream.send.room().min(self.send.room());
            let frame_max = self.peer.max_frame_size as usize;
            let len = chunk.len().min(windows).min(frame_max).min(left).min(room);
            if len == 0 {
                return;
            }
            let piece = chunk.split_to(len);
            left -= len;
            let last = chunk.is_empty() && stream.outbox.is_empty();
            let end = last && stream.end_queued && stream.trailers_queued.is_none();
            stream.send.take(len);
            stream.wire_sent += (frame::HEADER_LEN + len) as u64;
            stream.local_ended = end;
            self.send.take(len);
            self.guard.data_sent();
            // A frame's length is below 2^24.
            self.out.data(&frame::data_header(len as u32, stream.id, end), piece);
        }
    }

    /// Bytes of DATA the output may take now. Small frames are limited by their number, so that
    /// `max_outbound_frames` is for peers that make us answer.
    fn data_room(&self, setup: &Setup) -> usize {
        let frames = self.backlog.counts().0 + self.out.counts().0;
        if frames > setup.options.max_outbound_frames / 2 {
            return 0;
        }
        self.room.saturating_sub(self.out.len())
    }

    fn write_trailers(&mut self, key: Key, trailers: &HeaderMap) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let before = self.out.len();
        self.out.count_frame();
        self.encoder.trailers(stream.id, trailers, self.peer.max_frame_size, &mut self.out);
        stream.wire_sent += (self.out.len() - before) as u64;
        stream.local_ended = true;
    }

    /// All bytes of a stream are written: so is its end, if it is queued.
    pub(super) fn finish_sending(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if let Some(trailers) = stream.trailers_queued.take() {
            self.write_trailers(key, &trailers);
            setup.env.heads.put_trailers(trailers);
        } else if !stream.local_ended {
            stream.local_ended = true;
            stream.wire_sent += frame::HEADER_LEN as u64;
            self.out.data(&frame::data_header(0, stream.id, true), Chunk::new());
        }
        self.ended_here(setup, key);
    }

    /// END_STREAM was written.
    pub(super) fn ended_here(&mut self, setup: &Setup, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.local_ended = true;
        stream.end_queued = false;
        let (id, held) = (stream.id, stream.held);
        stream.wake_writer();
        if stream.remote_ended {
            self.stream_closed(setup, key, How::ByPeer, false);
        } else if !held {
            // The answer is complete and nobody reads the rest of the request (RFC 9113 section
            // 8.1).
            self.write_reset(setup, id, ErrorCode::NO_ERROR, false);
            self.stream_closed(setup, key, How::ResetHere, false);
        }
    }
}
