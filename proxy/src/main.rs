//! The `ringway` binary.

use std::process::ExitCode;

use ringway::cli::Options;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringway::boot::run(&Options::from_command_line())
}
