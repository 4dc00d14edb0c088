//! The `ringway` binary.

use std::io;
use std::process::ExitCode;

use ringway::cli::{Mode, Options};
use ringway::config::validate;

fn main() -> ExitCode {
    let options = Options::from_command_line();
    if options.mode == Mode::Validate {
        return ExitCode::from(validate(&options, &mut io::stdout(), &mut io::stderr()));
    }
    ExitCode::FAILURE
}
