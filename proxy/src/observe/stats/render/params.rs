//! Query parameters of the statistics pages.

use regex::Regex;

use crate::observe::stats::Kind;

/// `format=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageFormat {
    /// `name: value` lines.
    Text,
    /// One JSON object.
    Json,
    /// Prometheus text exposition.
    Prometheus,
}

/// `histogram_buckets=`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BucketsMode {
    /// Quantiles.
    #[default]
    Summary,
    /// Counts up to each bound.
    Cumulative,
    /// Counts between bounds.
    Disjoint,
    /// All buckets that have samples, and quantiles.
    Detailed,
}

/// What to show.
#[derive(Debug, Clone)]
pub struct StatsParams {
    /// Only what was written since the start.
    pub used_only: bool,
    /// Only names that contain a match.
    pub filter: Option<Regex>,
    /// Only names that contain no match.
    pub invert_filter: bool,
    /// Only one type.
    pub kind: Option<Kind>,
    /// How histograms are shown; `None` is the format's default.
    pub buckets: Option<BucketsMode>,
    /// How it is written.
    pub format: PageFormat,
    /// Prometheus: text readouts too.
    pub text_readouts: bool,
}

/// A parameter was wrong: the body of Envoy's 400 answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParamError(pub String);

impl StatsParams {
    /// Everything, in a format.
    pub fn all(format: PageFormat) -> Self {
        Self {
            used_only: false,
            filter: None,
            invert_filter: false,
            kind: None,
            buckets: None,
            format,
            text_readouts: false,
        }
    }

    /// Reads the query of `/stats` (or, with that as `format`, of `/stats/prometheus`): the part
    /// after `?`.
    ///
    /// # Errors
    /// With Envoy's text, to be answered with 400.
    pub fn parse(query: &str, format: PageFormat) -> Result<Self, ParamError> {
        let mut params = Self::all(format);
        let prometheus_path = format == PageFormat::Prometheus;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            match name {
                "usedonly" => params.used_only = true,
                "invert_filter" => params.invert_filter = true,
                "text_readouts" => params.text_readouts = true,
                "filter" => params.filter = filter(&value)?,
                "type" => params.kind = kind(&value)?,
                "histogram_buckets" => params.buckets = buckets(&value)?,
                "format" if !prometheus_path => params.format = page_format(&value)?,
                _ => {}
            }
        }
        if params.format == PageFormat::Prometheus
            && !matches!(
                params.buckets,
                None | Some(BucketsMode::Cumulative | BucketsMode::Summary)
            )
        {
            return Err(ParamError("unsupported prometheus histogram bucket mode".into()));
        }
        Ok(params)
    }

    /// Whether a name passes the filter.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name) != self.invert_filter)
    }

    /// Whether a type is shown.
    pub(super) fn wants_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
    }
}

fn filter(value: &str) -> Result<Option<Regex>, ParamError> {
    if value.is_empty() {
        return Ok(None);
    }
    match Regex::new(value) {
        Ok(regex) => Ok(Some(regex)),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default();
            Err(ParamError(format!("Invalid re2 regex: {}", reason.trim_start_matches("error: "))))
        }
    }
}

fn kind(value: &str) -> Result<Option<Kind>, ParamError> {
    Ok(Some(match value {
        "All" => return Ok(None),
        "Counters" => Kind::Counter,
        "Gauges" => Kind::Gauge,
        "Histograms" => Kind::Histogram,
        "TextReadouts" => Kind::TextReadout,
        _ => return Err(ParamError("invalid &type= param".into())),
    }))
}

fn buckets(value: &str) -> Result<Option<BucketsMode>, ParamError> {
    Ok(Some(match value {
        "" | "none" => return Ok(None),
        "summary" => BucketsMode::Summary,
        "cumulative" => BucketsMode::Cumulative,
        "disjoint" => BucketsMode::Disjoint,
        "detailed" => BucketsMode::Detailed,
        _ => {
            return Err(ParamError(
                "usage: /stats?histogram_buckets=\
                 (cumulative|disjoint|detailed|summary|prometheusnative)\n"
                    .into(),
            ));
        }
    }))
}

fn page_format(value: &str) -> Result<PageFormat, ParamError> {
    Ok(match value {
        "" | "text" => PageFormat::Text,
        "json" => PageFormat::Json,
        "prometheus" => PageFormat::Prometheus,
        _ => {
            return Err(ParamError(
                "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n".into(),
            ));
        }
    })
}

/// Undoes `%XX` and `+`.
fn decode(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        bytes = rest;
        let hex = |b: u8| char::from(b).to_digit(16);
        match (first, rest) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                bytes = after;
            }
            _ => out.push(first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
