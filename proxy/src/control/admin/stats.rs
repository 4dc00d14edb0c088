//! `/stats` and what belongs to it.

use super::page::{HTML, Request, Response};
use super::{Admin, home, regex_filter};
use crate::observe::stats::Kind;
use crate::observe::stats::render::{BucketsMode, PageFormat, StatsPage, StatsParams};

/// `/stats`
pub(super) fn stats(request: &Request, admin: &Admin) -> Response {
    let params = &request.params;
    match params.non_empty("format") {
        None | Some("text") => page(request, admin, PageFormat::Text),
        Some("json") => page(request, admin, PageFormat::Json),
        Some("prometheus") => page(request, admin, PageFormat::Prometheus),
        Some("html" | "active-html") => html(request, admin),
        Some(_) => {
            Response::error(400, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n")
        }
    }
}

/// `/stats/prometheus`
pub(super) fn prometheus(request: &Request, admin: &Admin) -> Response {
    page(request, admin, PageFormat::Prometheus)
}

fn page(request: &Request, admin: &Admin, format: PageFormat) -> Response {
    match params(request, format) {
        Err(text) => Response::error(400, text),
        Ok(params) => {
            let page = StatsPage::new(admin.merger.borrow().view(), params, admin.tags.clone());
            Response::pieces(page.content_type(), Pieces { page, done: false })
        }
    }
}

/// The text page in a frame, with a field to filter by; the active form reloads itself.
fn html(request: &Request, admin: &Admin) -> Response {
    const RELOAD: &str = "<meta http-equiv='refresh' content='5'>";
    let params = match params(request, PageFormat::Text) {
        Err(text) => return Response::error(400, text),
        Ok(params) => params,
    };
    let reload = request.params.first("format") == Some("active-html");
    let filter = home::escape(request.params.first("filter").unwrap_or_default());
    let format = if reload { "active-html" } else { "html" };
    let head = format!(
        "{}{}<form><input type='hidden' name='format' value='{format}'>\
         <input type='text' name='filter' value='{filter}' placeholder='filter (regex)'> \
         <button>stats</button> <a href='./'>all pages</a></form>\n<pre>\n",
        home::HEAD,
        if reload { RELOAD } else { "" },
    );
    let page = StatsPage::new(admin.merger.borrow().view(), params, admin.tags.clone());
    let lines = Pieces { page, done: false }.map(|piece| home::escape(&piece));
    let tail = "</pre>\n</body>\n</html>\n".to_owned();
    Response::pieces(HTML, std::iter::once(head).chain(lines).chain(std::iter::once(tail)))
}

struct Pieces {
    page: StatsPage,
    done: bool,
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.done {
            return None;
        }
        let mut out = Vec::new();
        self.done = !self.page.next(&mut out);
        // Names come from configurations and are UTF-8; a piece may still be empty.
        Some(
            String::from_utf8(out)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }
}

fn params(request: &Request, format: PageFormat) -> Result<StatsParams, String> {
    let params = &request.params;
    let filter = match params.non_empty("filter").map(regex_filter::compile) {
        None => None,
        Some(Ok(regex)) => Some(regex),
        Some(Err(problem)) => return Err(format!("Invalid re2 regex: {problem}")),
    };
    let kind = match params.non_empty("type") {
        None | Some("All") => None,
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        Some("Histograms") => Some(Kind::Histogram),
        Some("TextReadouts") => Some(Kind::TextReadout),
        Some(_) => return Err("invalid &type= param".to_owned()),
    };
    let buckets = buckets(params.non_empty("histogram_buckets"), format)?;
    let all = StatsParams::all(format);
    Ok(StatsParams {
        used_only: params.has("usedonly"),
        filter,
        invert_filter: params.has("invert_filter"),
        kind,
        buckets,
        text_readouts: params.has("text_readouts"),
        ..all
    })
}

fn buckets(mode: Option<&str>, format: PageFormat) -> Result<Option<BucketsMode>, String> {
    let mode = match mode {
        None | Some("none") => return Ok(None),
        Some("summary") => BucketsMode::Summary,
        Some("cumulative") => BucketsMode::Cumulative,
        Some("disjoint") => BucketsMode::Disjoint,
        Some("detailed") => BucketsMode::Detailed,
        Some(_) => {
            return Err("usage: /stats?histogram_buckets=\
                        (cumulative|disjoint|detailed|summary|prometheusnative)\n"
                .to_owned());
        }
    };
    let fits = matches!(mode, BucketsMode::Summary | BucketsMode::Cumulative);
    if format == PageFormat::Prometheus && !fits {
        return Err("unsupported prometheus histogram bucket mode".to_owned());
    }
    Ok(Some(mode))
}

/// `/reset_counters`
pub(super) fn reset_counters(_: &Request, admin: &Admin) -> Response {
    admin.merger.borrow_mut().reset_counters();
    Response::done()
}

/// `/stats/recentlookups`: statistics have their slots before traffic comes, so nothing is looked
/// up by name while it does.
pub(super) fn recent_lookups(_: &Request, _: &Admin) -> Response {
    Response::text(
        "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n",
    )
}

/// `/stats/recentlookups/*`
pub(super) fn no_lookups(_: &Request, _: &Admin) -> Response {
    Response::done()
}
