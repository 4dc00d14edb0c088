//! The interoperability cases of grpc-go: its client through the proxy to its server.

use super::{Outcome, Running, Setup, run};
use crate::proxy::Kind;
use crate::{bins, ports};
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// Cases that pass without a proxy between.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];
const SOAKS: [&str; 2] = ["rpc_soak", "channel_soak"];

/// Runs all cases.
///
/// # Errors
/// A tool is missing or does not start.
pub fn interop(kind: Kind) -> Result<Outcome> {
    let server = bins::suite("grpc-server/server").map_err(anyhow::Error::msg)?;
    let client = bins::suite("grpc-client/client").map_err(anyhow::Error::msg)?;
    let port = ports::free();
    let _server = Running::server(Command::new(server).args(["-port", &port.to_string()]), port)?;
    let setup = Setup::start(kind, "grpc", port)?;
    let target = setup.port("plain")?.to_string();
    let mut outcome = Outcome::default();
    for case in CASES.iter().chain(&SOAKS) {
        let mut command = Command::new(&client);
        command.args(["-server_host", "127.0.0.1", "-server_port", &target, "-test_case", case]);
        if SOAKS.contains(case) {
            command.args(["-soak_iterations", "200"]);
        }
        outcome.total += 1;
        match run(&mut command, Duration::from_secs(40)) {
            Ok((_, true)) => {}
            Ok((said, false)) => {
                let last = said.lines().last().unwrap_or_default().to_owned();
                outcome.failed.push(format!("{case}: {last}"));
            }
            Err(error) => outcome.failed.push(format!("{case}: {error:#}")),
        }
    }
    Ok(outcome)
}
