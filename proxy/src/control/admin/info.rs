//! Facts about the process: version, command line, memory.

use std::fmt::Write;

use ringway_xds::api::envoy::admin::v3::CommandLineOptions;
use ringway_xds::api::envoy::config::core::v3::Node;

use super::Admin;
use super::page::{JSON, Request, Response, TEXT};
use crate::control::json::Json;
use crate::control::print;

/// The release of Envoy this build behaves as; control planes decide by it what they may send.
pub const ENVOY_VERSION: (u32, u32, u32) = (1, 40, 0);

/// The revision this binary was built from, when the build says so.
const REVISION: &str = match option_env!("RINGWAY_REVISION") {
    Some(revision) => revision,
    None => "0000000000000000000000000000000000000000",
};

/// `<revision>/<Envoy version>/<tree state>/<build>/<TLS library>`: five parts, as tools expect.
pub fn version() -> String {
    let (major, minor, patch) = ENVOY_VERSION;
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    let own = env!("CARGO_PKG_VERSION");
    format!("{REVISION}/{major}.{minor}.{patch}/ringway-{own}/{build}/none")
}

/// `server.version`: the first six hex digits of the revision as a number.
pub fn revision_number() -> u64 {
    let digits = REVISION.get(..6).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// What does not change while the process runs.
#[derive(Debug, Default)]
pub struct Facts {
    /// The command line.
    pub options: CommandLineOptions,
    /// Who we are.
    pub node: Node,
}

/// `/server_info`: `envoy.admin.v3.ServerInfo`.
pub fn server_info(_: &Request, admin: &Admin) -> Response {
    let uptime = format!("{}s", admin.server.uptime().as_secs());
    let mut json = Json::new();
    json.object();
    json.key("version").string(&version());
    json.key("state").string(admin.server.state().name());
    json.key("uptime_current_epoch").string(&uptime);
    let all = format!("{}s", admin.server.uptime_of_all().as_secs());
    json.key("uptime_all_epochs").string(&all);
    json.key("hot_restart_version").string(&hot_restart_version(admin));
    json.key("command_line_options").embed(&print::message(&admin.facts.options, true));
    json.key("node").embed(&print::message(&admin.facts.node, true));
    json.key("hot_restart_initializing").value(false);
    json.end_object();
    Response::ok(JSON, json.finish())
}

/// `/hot_restart_version`
pub fn hot_restart(_: &Request, admin: &Admin) -> Response {
    Response::text(hot_restart_version(admin))
}

/// As Envoy, `disabled` with `--disable-hot-restart`.
fn hot_restart_version(admin: &Admin) -> String {
    match admin.facts.options.disable_hot_restart {
        true => "disabled".to_owned(),
        false => crate::control::restart::version(),
    }
}

/// `/contention`
pub fn contention(_: &Request, _: &Admin) -> Response {
    Response::text(
        "Mutex contention tracing is not enabled: no thread of this process waits for a mutex.",
    )
}

/// `/init_dump`: who waits for what before the proxy, or a listener of it, is ready.
pub fn init_dump(request: &Request, admin: &Admin) -> Response {
    let snapshot = admin.snapshot();
    // The mask can only be `listener`: what waits besides are the clusters and listeners at start.
    let wanted = match request.params.non_empty("mask") {
        None | Some("listener") => snapshot.unready.as_slice(),
        Some(other) => {
            let text = format!("the mask '{other}' is not known; allowed: listener\n");
            return Response::error(400, text);
        }
    };
    if wanted.is_empty() {
        return Response::ok(JSON, "{}\n".to_owned());
    }
    let mut json = Json::new();
    json.object().key("unready_targets_dumps").array();
    for unready in wanted {
        json.object().key("name").string(&unready.name).key("target_names").array();
        for target in &unready.targets {
            json.string(target);
        }
        json.end_array().end_object();
    }
    json.end_array().end_object();
    Response::ok(JSON, json.finish())
}

/// `/cpuprofiler`, `/heapprofiler`, `/allocprofiler`
pub fn no_profiler(request: &Request, _: &Admin) -> Response {
    match request.params.first("enable") {
        Some("y" | "n") => Response::error(501, "The current build does not support this profiler"),
        _ => Response::error(400, "?enable=<y|n>\n"),
    }
}

/// `/heap_dump`, `/peak_heap_dump`
pub fn no_heap_dump(_: &Request, _: &Admin) -> Response {
    Response::error(501, "Heap dump not supported in current build")
}

/// Memory of the process, in bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous memory in RAM: what the program has allocated and touched.
    pub anonymous: u64,
    /// Data segment, reserved or used.
    pub data: u64,
    /// All memory in RAM.
    pub resident: u64,
}

/// Reads `/proc/self/status`; zeros where it is not there.
pub fn process_memory() -> Memory {
    parse_status(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse_status(status: &str) -> Memory {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    };
    Memory { anonymous: field("RssAnon:"), data: field("VmData:"), resident: field("VmRSS:") }
}

/// `/memory`: `envoy.admin.v3.Memory`.
pub fn memory(_: &Request, _: &Admin) -> Response {
    let memory = process_memory();
    let mut json = Json::new();
    json.object();
    for (name, value) in [
        ("allocated", memory.anonymous),
        ("heap_size", memory.data),
        ("pageheap_unmapped", memory.data.saturating_sub(memory.anonymous)),
        ("pageheap_free", 0),
        ("total_thread_cache", 0),
        ("total_physical_bytes", memory.resident),
    ] {
        json.key(name).int64(value);
    }
    json.end_object();
    Response::ok(JSON, json.finish())
}

/// `/memory/tcmalloc`: another allocator is in use; what the kernel knows is printed instead.
pub fn allocator(_: &Request, _: &Admin) -> Response {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut out = String::from("allocator: mimalloc\n");
    for line in status.lines().filter(|line| line.starts_with("Vm") || line.starts_with("Rss")) {
        let _infallible = writeln!(out, "{line}");
    }
    Response::ok(TEXT, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_memory_from_the_kernels_table() {
        let memory = parse_status("VmRSS:\t   10 kB\nVmData:\t20 kB\nRssAnon:\t 4 kB\n");
        assert_eq!(memory, Memory { anonymous: 4096, data: 20_480, resident: 10_240 });
        assert!(process_memory().resident > 0);
    }

    #[test]
    fn the_version_has_five_parts_and_envoys_number_second() {
        let version = version();
        let parts: Vec<&str> = version.split('/').collect();
        assert_eq!(parts.len(), 5);
        assert_eq!(parts[1], "1.40.0");
    }
}
