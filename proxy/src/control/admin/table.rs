//! Every page of the admin interface, in the order `/help` lists them.
//!
//! A new page is one function and one entry here.

use super::page::{Page, Param, Request, Response};
use super::{
    Admin, certs, clusters, config_dump, health, home, info, listeners, logging, runtime, stats,
};

const YES_NO: &[&str] = &["y", "n"];
const BUCKETS: &[&str] = &["cumulative", "disjoint", "detailed", "summary"];
const FILTER: Param =
    Param::text("filter", "Regular expression; names it matches anywhere are printed");
const INVERT: Param = Param::flag("invert_filter", "Print the names the filter does not match");
const USED_ONLY: Param =
    Param::flag("usedonly", "Leave out what was never written since the start");

/// The pages.
pub(super) static PAGES: &[Page] = &[
    read("/", "this overview", &[], home::home),
    write(
        "/allocprofiler",
        "switch the allocation profiler on or off (not part of this build)",
        &[Param::one_of("enable", "on or off", YES_NO)],
        info::no_profiler,
    ),
    read("/certs", "certificates in use", &[], certs::certs),
    read(
        "/clusters",
        "clusters, their limits and the state of every host",
        &[
            Param::text("filter", "Regular expression; clusters whose name it matches are printed"),
            Param::one_of("format", "Format of the answer", &["text", "json"]),
        ],
        clusters::clusters,
    ),
    of_snapshot(
        "/config_dump",
        "the configuration as it is loaded",
        &[
            Param::text("resource", "One repeated field, such as static_clusters"),
            Param::text(
                "mask",
                "Fields to keep, as a protobuf FieldMask; with resource it applies to each element",
            ),
            Param::text("name_regex", "Only what has a name this expression matches as a whole"),
            Param::flag("include_eds", "Add the endpoints of every cluster"),
        ],
        config_dump::config_dump,
    ),
    read(
        "/contention",
        "lock contention (there are no locks to contend for)",
        &[],
        info::contention,
    ),
    write(
        "/cpuprofiler",
        "switch the CPU profiler on or off (not part of this build: use perf)",
        &[Param::one_of("enable", "on or off", YES_NO)],
        info::no_profiler,
    ),
    write(
        "/drain_listeners",
        "drain connections and close listeners",
        &[
            Param::flag("graceful", "Go on listening until the drain time is over"),
            Param::flag("skip_exit", "Drain connections but never close the listeners"),
            Param::flag("inboundonly", "Only listeners whose traffic_direction is INBOUND"),
        ],
        health::drain_listeners,
    ),
    write("/healthcheck/fail", "fail health checks from now on", &[], health::fail),
    write("/healthcheck/ok", "pass health checks again", &[], health::ok),
    read("/heap_dump", "heap profile (not part of this build)", &[], info::no_heap_dump),
    write(
        "/heapprofiler",
        "switch the heap profiler on or off (not part of this build)",
        &[Param::one_of("enable", "on or off", YES_NO)],
        info::no_profiler,
    ),
    read("/help", "this list", &[], home::help),
    read("/hot_restart_version", "version of the hot restart protocol", &[], info::hot_restart),
    of_snapshot(
        "/init_dump",
        "what initialization still waits for",
        &[Param::text("mask", "Component to print, as a protobuf FieldMask")],
        info::init_dump,
    ),
    read(
        "/listeners",
        "listeners and the addresses they are bound to",
        &[Param::one_of("format", "Format of the answer", &["text", "json"])],
        listeners::listeners,
    ),
    read("/live", "200 for as long as the process runs", &[], health::live),
    write(
        "/logging",
        "print or change log levels",
        &[
            Param::text("paths", "Several loggers at once: <name>:<level>,<name>:<level>"),
            Param::text("group", "A group of fine-grain loggers: <name>:<level>"),
            Param::one_of(
                "level",
                "Level of all loggers",
                &["", "trace", "debug", "info", "warning", "error", "critical", "off"],
            ),
        ],
        logging::logging,
    ),
    read("/memory", "memory in use", &[], info::memory),
    read("/memory/tcmalloc", "statistics of the allocator", &[], info::allocator),
    read(
        "/peak_heap_dump",
        "heap profile at its peak (not part of this build)",
        &[],
        info::no_heap_dump,
    ),
    write("/quitquitquit", "end the process", &[], health::quit),
    read("/ready", "state of the server: 200 if LIVE, else 503", &[], health::ready),
    write("/reopen_logs", "open access log files again", &[], health::reopen_logs),
    write("/reset_counters", "set every counter to zero", &[], stats::reset_counters),
    of_snapshot("/runtime", "runtime values by layer", &[], runtime::runtime),
    write(
        "/runtime_modify",
        "set runtime values: ?key1=value1&key2=value2; an empty value removes an override",
        &[],
        runtime::modify,
    ),
    read("/server_info", "version, state and command line", &[], info::server_info),
    read(
        "/stats",
        "statistics",
        &[
            USED_ONLY,
            FILTER,
            INVERT,
            Param::one_of(
                "format",
                "Format of the answer",
                &["html", "active-html", "text", "json"],
            ),
            Param::one_of(
                "type",
                "Kind of statistics",
                &["All", "Counters", "Histograms", "Gauges", "TextReadouts"],
            ),
            Param::one_of("histogram_buckets", "How histograms are printed", BUCKETS),
        ],
        stats::stats,
    ),
    read(
        "/stats/prometheus",
        "statistics in the Prometheus text format",
        &[
            USED_ONLY,
            Param::flag(
                "text_readouts",
                "Print texts as gauges of value 0 with the text as a label",
            ),
            FILTER,
            INVERT,
            Param::one_of(
                "histogram_buckets",
                "How histograms are printed",
                &["cumulative", "summary"],
            ),
        ],
        stats::prometheus,
    ),
    read("/stats/recentlookups", "statistics looked up by name lately", &[], stats::recent_lookups),
    write("/stats/recentlookups/clear", "forget recent look-ups", &[], stats::no_lookups),
    write("/stats/recentlookups/disable", "stop recording look-ups", &[], stats::no_lookups),
    write("/stats/recentlookups/enable", "record look-ups", &[], stats::no_lookups),
];

const fn read(
    path: &'static str,
    help: &'static str,
    params: &'static [Param],
    answer: fn(&Request, &Admin) -> Response,
) -> Page {
    Page { path, help, params, mutates: false, snapshot: false, answer }
}

/// A page that shows what xDS brought.
const fn of_snapshot(
    path: &'static str,
    help: &'static str,
    params: &'static [Param],
    answer: fn(&Request, &Admin) -> Response,
) -> Page {
    Page { path, help, params, mutates: false, snapshot: true, answer }
}

const fn write(
    path: &'static str,
    help: &'static str,
    params: &'static [Param],
    answer: fn(&Request, &Admin) -> Response,
) -> Page {
    Page { path, help, params, mutates: true, snapshot: false, answer }
}

/// The page at a path, without a query.
pub(super) fn page(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

/// Finds and calls the page of a request; there is an answer to everything.
pub(super) fn answer(request: &Request, admin: &Admin) -> Response {
    let path = request.path.as_bytes();
    if !admin.allow_paths.is_empty() && !admin.allow_paths.iter().any(|m| m.matches(path)) {
        return Response::error(403, format!("request to path {} not allowed", request.path));
    }
    match page(&request.path) {
        None => home::not_found(),
        Some(page) if page.mutates && request.method != "POST" => {
            Response::error(405, format!("Method {} not allowed, POST required.", request.method))
        }
        Some(page) => (page.answer)(request, admin),
    }
}
