//! `--mode validate`.

use std::io::{self, Write};

use super::load::{Diagnostics, load};
use crate::cli::{Options, ValidateOutput};
use crate::observe::stats::Registry;

/// Checks the configuration and prints what was found: diagnostics to `err` as text, or one JSON
/// document to `out`. Answers the exit code: 0 if the configuration can be served, else 1.
pub fn validate(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let (diagnostics, valid) = match load(options, 1, &mut Registry::new(1)) {
        Ok(loaded) => (loaded.warnings, true),
        Err(diagnostics) => (diagnostics, false),
    };
    // Whoever closed the pipe does not read, and gets the exit code.
    let _ = match options.validate_output {
        ValidateOutput::Json => writeln!(out, "{}", diagnostics.to_json()),
        ValidateOutput::Text => text(options, &diagnostics, valid, out, err),
    };
    u8::from(!valid)
}

fn text(
    options: &Options,
    diagnostics: &Diagnostics,
    valid: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    write!(err, "{diagnostics}")?;
    if valid {
        return writeln!(out, "configuration '{}' OK", options.config_path);
    }
    let count = diagnostics.errors();
    let errors = if count == 1 { "error" } else { "errors" };
    writeln!(err, "error initializing configuration '{}': {count} {errors}", options.config_path)
}
