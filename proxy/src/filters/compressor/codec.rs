//! Compression libraries: gzip, Brotli, Zstandard.

use std::io::Write;

use brotli::enc::backward_references::{BrotliEncoderMode, BrotliEncoderParams};
use flate2::{Compress, Compression, FlushCompress};
use ringway_xds::api::envoy::config::core::v3::TypedExtensionConfig;
use ringway_xds::api::envoy::extensions::compression::brotli::compressor::v3 as brotli_api;
use ringway_xds::api::envoy::extensions::compression::gzip::compressor::v3 as gzip_api;
use ringway_xds::api::envoy::extensions::compression::zstd::compressor::v3 as zstd_api;
use zstd::stream::raw::{CParameter, Encoder as ZstdEncoder, InBuffer, Operation, OutBuffer};

use crate::config::compile::scalar::{extension, type_name};
use crate::config::compile::set::refuse;
use crate::config::compile::{At, Cx};

/// Room that is made for what comes out, at the least.
const ROOM: usize = 4096;

/// `compressor_library`.
#[derive(Debug, Clone)]
pub(super) enum Library {
    Gzip { level: u32, window_bits: u8 },
    Brotli(Box<BrotliOptions>),
    Zstd { level: i32, checksum: bool },
}

/// What Brotli's encoder is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrotliOptions {
    quality: i32,
    window_bits: i32,
    block_bits: i32,
    mode: brotli_api::brotli::EncoderMode,
    no_literal_contexts: bool,
}

/// Compresses one body.
pub(super) enum Encoder {
    Gzip(Compress),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static>),
    /// The library could not be set up, or failed: nothing comes out any more.
    Broken,
}

/// Compiles it.
pub(super) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    value: &TypedExtensionConfig,
) -> Option<Library> {
    let Some(any) = &value.typed_config else {
        extension(cx, at, value);
        return None;
    };
    let at = at.field("typed_config");
    let any = cx.typed(&at, any)?.into_owned();
    match type_name(&any.type_url) {
        "envoy.extensions.compression.gzip.compressor.v3.Gzip" => {
            let found = cx.unpack::<gzip_api::Gzip>(&at, &any)?;
            gzip(cx, &at, found)
        }
        "envoy.extensions.compression.brotli.compressor.v3.Brotli" => {
            let found = cx.unpack::<brotli_api::Brotli>(&at, &any)?;
            Some(brotli_of(&found))
        }
        "envoy.extensions.compression.zstd.compressor.v3.Zstd" => {
            let found = cx.unpack::<zstd_api::Zstd>(&at, &any)?;
            zstd_of(cx, &at, found)
        }
        other => {
            cx.unsupported_value(&at, other);
            None
        }
    }
}

fn gzip(cx: &mut Cx<'_>, at: &At<'_>, config: gzip_api::Gzip) -> Option<Library> {
    let gzip_api::Gzip {
        memory_level,
        compression_level,
        compression_strategy,
        window_bits,
        // How large pieces are made; ours are as large as what comes out.
        chunk_size: _,
    } = config;
    refuse!(cx, at, memory_level, compression_strategy);
    // The levels are numbered as zlib's; 0 is its default.
    let level = match u32::try_from(compression_level) {
        Ok(0) | Err(_) => 6,
        Ok(level) => level.min(9),
    };
    let window_bits = window_bits.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(12);
    Some(Library::Gzip { level, window_bits: window_bits.clamp(9, 15) })
}

pub(super) fn brotli_of(config: &brotli_api::Brotli) -> Library {
    let brotli_api::Brotli {
        quality,
        encoder_mode: _,
        window_bits,
        input_block_bits,
        // How large pieces are made; ours are as large as what comes out.
        chunk_size: _,
        disable_literal_context_modeling,
    } = config;
    let number =
        |value: Option<u32>, usual| value.and_then(|n| i32::try_from(n).ok()).unwrap_or(usual);
    Library::Brotli(Box::new(BrotliOptions {
        quality: number(*quality, 3),
        window_bits: number(*window_bits, 18),
        block_bits: number(*input_block_bits, 24),
        mode: config.encoder_mode(),
        no_literal_contexts: *disable_literal_context_modeling,
    }))
}

fn zstd_of(cx: &mut Cx<'_>, at: &At<'_>, config: zstd_api::Zstd) -> Option<Library> {
    let zstd_api::Zstd {
        compression_level,
        enable_checksum,
        strategy,
        dictionary,
        // How large pieces are made; ours are as large as what comes out.
        chunk_size: _,
    } = config;
    refuse!(cx, at, strategy, dictionary);
    let level = compression_level.and_then(|level| i32::try_from(level).ok()).unwrap_or(3);
    Some(Library::Zstd { level, checksum: enable_checksum })
}

impl Library {
    /// Its part of the names of statistics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli(_) => "brotli",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// Its `content-encoding`.
    pub(super) fn encoding(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli(_) => "br",
            Self::Zstd { .. } => "zstd",
        }
    }

    /// Begins a body.
    pub(super) fn encoder(&self) -> Encoder {
        match self {
            Self::Gzip { level, window_bits } => {
                Encoder::Gzip(Compress::new_gzip(Compression::new(*level), *window_bits))
            }
            Self::Brotli(options) => {
                let params = options.params();
                let writer = brotli::CompressorWriter::with_params(Vec::new(), ROOM, &params);
                Encoder::Brotli(Box::new(writer))
            }
            Self::Zstd { level, checksum } => zstd_encoder(*level, *checksum),
        }
    }
}

impl BrotliOptions {
    fn params(&self) -> BrotliEncoderParams {
        use brotli_api::brotli::EncoderMode;
        BrotliEncoderParams {
            quality: self.quality,
            lgwin: self.window_bits,
            lgblock: self.block_bits,
            disable_literal_context_modeling: i32::from(self.no_literal_contexts),
            mode: match self.mode {
                EncoderMode::Default | EncoderMode::Generic => {
                    BrotliEncoderMode::BROTLI_MODE_GENERIC
                }
                EncoderMode::Text => BrotliEncoderMode::BROTLI_MODE_TEXT,
                EncoderMode::Font => BrotliEncoderMode::BROTLI_MODE_FONT,
            },
            ..BrotliEncoderParams::default()
        }
    }
}

fn zstd_encoder(level: i32, checksum: bool) -> Encoder {
    let Ok(mut encoder) = ZstdEncoder::new(level) else { return Encoder::Broken };
    match encoder.set_parameter(CParameter::ChecksumFlag(checksum)) {
        Ok(()) => Encoder::Zstd(encoder),
        Err(_) => Encoder::Broken,
    }
}

impl Encoder {
    /// Takes bytes in; what is ready comes out.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let done = match self {
            Self::Gzip(gzip) => deflate(gzip, bytes, FlushCompress::None, out),
            Self::Brotli(writer) => {
                let written = writer.write_all(bytes).is_ok();
                out.append(writer.get_mut());
                written
            }
            Self::Zstd(encoder) => feed(encoder, bytes, out),
            Self::Broken => true,
        };
        self.check(done);
    }

    /// All that was taken in comes out.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let done = match self {
            Self::Gzip(gzip) => deflate(gzip, &[], FlushCompress::Sync, out),
            Self::Brotli(writer) => {
                let flushed = writer.flush().is_ok();
                out.append(writer.get_mut());
                flushed
            }
            Self::Zstd(encoder) => drain(out, |buffer| encoder.flush(buffer)),
            Self::Broken => true,
        };
        self.check(done);
    }

    /// The end: all that is left comes out.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(self, Self::Broken) {
            Self::Gzip(mut gzip) => {
                deflate(&mut gzip, &[], FlushCompress::Finish, out);
            }
            Self::Brotli(writer) => out.append(&mut writer.into_inner()),
            Self::Zstd(mut encoder) => {
                drain(out, |buffer| encoder.finish(buffer, true));
            }
            Self::Broken => {}
        }
    }

    fn check(&mut self, done: bool) {
        if !done {
            *self = Self::Broken;
        }
    }
}

/// Runs until all is taken in and, with a flush, nothing is left inside.
fn deflate(gzip: &mut Compress, mut bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> bool {
    loop {
        out.reserve(ROOM);
        let before = gzip.total_in();
        let Ok(status) = gzip.compress_vec(bytes, out, flush) else { return false };
        let taken = usize::try_from(gzip.total_in() - before).unwrap_or(usize::MAX);
        bytes = bytes.get(taken..).unwrap_or_default();
        let room = out.capacity() > out.len();
        if status == flate2::Status::StreamEnd || (bytes.is_empty() && room) {
            return true;
        }
    }
}

fn feed(encoder: &mut ZstdEncoder<'static>, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut input = InBuffer::around(bytes);
    while input.pos() < bytes.len() {
        let mut room = [0u8; ROOM];
        let mut buffer = OutBuffer::around(room.as_mut_slice());
        if encoder.run(&mut input, &mut buffer).is_err() {
            return false;
        }
        out.extend_from_slice(buffer.as_slice());
    }
    true
}

/// Calls until nothing is left inside.
fn drain(
    out: &mut Vec<u8>,
    mut call: impl FnMut(&mut OutBuffer<'_, [u8]>) -> std::io::Result<usize>,
) -> bool {
    loop {
        let mut room = [0u8; ROOM];
        let mut buffer = OutBuffer::around(room.as_mut_slice());
        let Ok(left) = call(&mut buffer) else { return false };
        out.extend_from_slice(buffer.as_slice());
        if left == 0 {
            return true;
        }
    }
}
