//! Pages that tell or change what the process does.

use super::Admin;
use super::page::{Request, Response};
use crate::control::message::AdminCommand;
use crate::control::state::State;

/// `/ready`
pub(super) fn ready(_: &Request, admin: &Admin) -> Response {
    let state = admin.server.state();
    let status = if state == State::Live { 200 } else { 503 };
    Response { status, ..Response::text(format!("{}\n", state.name())) }
}

/// `/live`: the process runs and answers, whatever its state: what a liveness probe asks, which
/// must not kill a process that warms up or drains. Envoy has no such page.
pub(super) fn live(_: &Request, _: &Admin) -> Response {
    Response::text("LIVE\n")
}

/// `/healthcheck/fail`
pub(super) fn fail(_: &Request, admin: &Admin) -> Response {
    // Set here too, so that a /ready right behind this answer sees it.
    admin.server.set_health_check_failed(true);
    admin.command(AdminCommand::HealthCheckFailed(true))
}

/// `/healthcheck/ok`
pub(super) fn ok(_: &Request, admin: &Admin) -> Response {
    admin.server.set_health_check_failed(false);
    admin.command(AdminCommand::HealthCheckFailed(false))
}

/// `/drain_listeners`
pub(super) fn drain_listeners(request: &Request, admin: &Admin) -> Response {
    admin.command(AdminCommand::DrainListeners {
        graceful: request.params.has("graceful"),
        skip_exit: request.params.has("skip_exit"),
        inbound_only: request.params.has("inboundonly"),
    })
}

/// `/reopen_logs`
pub(super) fn reopen_logs(_: &Request, admin: &Admin) -> Response {
    admin.command(AdminCommand::ReopenLogs)
}

/// `/quitquitquit`: the answer goes out before the process ends.
pub(super) fn quit(_: &Request, _: &Admin) -> Response {
    Response { then_quit: true, ..Response::done() }
}
