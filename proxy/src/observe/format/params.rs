//! The arguments of operators.

use super::op::{GrpcFormat, HeaderName, Moment, Op, PathSource, Point, Segment, ServerName};
use super::parse::{Extensions, FormatError, operator};
use super::state::Serialize;
use super::time::TimeFormat;

/// An operator as written.
pub(super) struct Params<'a> {
    pub(super) name: &'a str,
    pub(super) args: &'a str,
    pub(super) max: Option<usize>,
}

impl<'a> Params<'a> {
    /// The rule of operators without arguments.
    pub(super) fn none(&self) -> Result<(), FormatError> {
        if self.args.is_empty() && self.max.is_none() {
            return Ok(());
        }
        Err(FormatError(format!("{} does not take any parameters or length", self.name)))
    }

    /// The rule of operators that need arguments.
    pub(super) fn required(&self) -> Result<&'a str, FormatError> {
        if self.args.is_empty() {
            return Err(FormatError(format!("{} requires parameters", self.name)));
        }
        Ok(self.args)
    }

    /// The rule of operators that cannot be cut.
    pub(super) fn no_length(&self) -> Result<(), FormatError> {
        match self.max {
            None => Ok(()),
            Some(_) => {
                Err(FormatError(format!("{} does not allow length to be specified.", self.name)))
            }
        }
    }

    pub(super) fn header(&self) -> Result<HeaderName, FormatError> {
        let args = self.required()?;
        let mut names = args.split('?');
        let main = names.next().unwrap_or_default();
        let alternative = names.next().unwrap_or_default();
        if names.next().is_some() {
            return Err(FormatError(format!(
                "More than 1 alternative header specified in token: {args}"
            )));
        }
        for name in [main, alternative] {
            if !name.bytes().all(is_name_byte) {
                return Err(FormatError::new(
                    "Invalid header configuration. Format string contains invalid characters.",
                ));
            }
        }
        let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        let alternative = (!alternative.is_empty()).then(|| lower(alternative));
        Ok(HeaderName { main: lower(main), alternative })
    }

    pub(super) fn time(&self) -> Result<Op, FormatError> {
        self.no_length()?;
        if has_newline_specifier(self.args) {
            return Err(FormatError::new(
                "Invalid header configuration. Format string contains newline.",
            ));
        }
        let moment = if self.name.starts_with("START") { Moment::Start } else { Moment::Emit };
        let local = self.name.ends_with("_LOCAL");
        let format = match (self.args, local) {
            ("", false) => TimeFormat::default_utc(),
            ("", true) => TimeFormat::default_local(),
            (args, local) => TimeFormat::parse(args, local),
        };
        Ok(Op::Time(moment, format))
    }

    pub(super) fn validity(&self) -> Result<Op, FormatError> {
        self.no_length()?;
        let format = match self.args {
            "" => TimeFormat::default_utc(),
            args => TimeFormat::parse(args, false),
        };
        let op = super::tls::validity(self.name, format);
        Ok(op.map_or(Op::Absent, |(end, fact)| Op::Tls(end, fact)))
    }

    pub(super) fn path(&self) -> Result<Op, FormatError> {
        let mut options = self.args.split(':');
        let query = match options.next().unwrap_or_default() {
            "" | "WQ" => true,
            "NQ" => false,
            other => {
                return Err(FormatError(format!(
                    "Invalid PATH option: '{other}', only 'WQ'/'NQ' are allowed"
                )));
            }
        };
        let source = match options.next().unwrap_or_default() {
            "" | "ORIG_OR_PATH" => PathSource::OriginalOrCurrent,
            "PATH" => PathSource::Current,
            "ORIG" => PathSource::Original,
            other => {
                return Err(FormatError(format!(
                    "Invalid PATH option: '{other}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"
                )));
            }
        };
        Ok(Op::Path { source, query })
    }

    pub(super) fn query_params(&self) -> Result<Op, FormatError> {
        match self.args {
            "" | "ORIG" => Ok(Op::QueryParams { decoded: false }),
            "DECODED" => Ok(Op::QueryParams { decoded: true }),
            other => Err(FormatError(format!(
                "Invalid QUERY_PARAMS option: '{other}', only 'ORIG'/'DECODED' are allowed"
            ))),
        }
    }

    pub(super) fn common_duration(&self) -> Result<Op, FormatError> {
        let args = self.required()?;
        self.no_length()?;
        let parts: Vec<&str> = args.split(':').collect();
        let (from, to, precision) = match parts.as_slice() {
            [from, to] => (from, to, "ms"),
            [from, to, precision] => (from, to, *precision),
            _ => {
                return Err(FormatError(format!("Invalid common duration configuration: {args}.")));
            }
        };
        let ns_per_unit = match precision {
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            other => {
                return Err(FormatError(format!("Invalid common duration precision: {other}.")));
            }
        };
        Ok(Op::Duration { from: point(from), to: point(to), ns_per_unit })
    }

    pub(super) fn grpc_status(&self) -> Result<Op, FormatError> {
        self.no_length()?;
        Ok(Op::Grpc(match self.args {
            "" | "CAMEL_STRING" => GrpcFormat::Camel,
            "SNAKE_STRING" => GrpcFormat::Snake,
            "NUMBER" => GrpcFormat::Number,
            other => {
                return Err(FormatError(format!(
                    "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. \
                     Got: {other}"
                )));
            }
        }))
    }

    pub(super) fn server_name(&self) -> Result<Op, FormatError> {
        self.no_length()?;
        let mut options = self.args.split(':');
        let prefer = match options.next().unwrap_or_default() {
            "" | "SNI_ONLY" => ServerName::SniOnly,
            "SNI_FIRST" => ServerName::SniFirst,
            "HOST_FIRST" => ServerName::HostFirst,
            other => {
                return Err(FormatError(format!(
                    "Invalid REQUESTED_SERVER_NAME option: '{other}', only \
                     'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed"
                )));
            }
        };
        let host = match options.next().unwrap_or_default() {
            "" | "ORIG_OR_HOST" => PathSource::OriginalOrCurrent,
            "HOST" => PathSource::Current,
            "ORIG" => PathSource::Original,
            other => {
                return Err(FormatError(format!(
                    "Invalid REQUESTED_SERVER_NAME option: '{other}', only \
                     'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed"
                )));
            }
        };
        Ok(Op::ServerName(prefer, host))
    }

    /// A prefix length; anything else is ignored, as by Envoy.
    pub(super) fn mask(&self) -> Option<u8> {
        self.args.parse().ok()
    }

    pub(super) fn xfcc(&self) -> Result<Op, FormatError> {
        match self.args {
            "" => Err(FormatError::new("XFCC_VALUE command requires a subcommand")),
            key if XFCC_KEYS.iter().any(|known| known.eq_ignore_ascii_case(key)) => {
                Ok(Op::Xfcc(key.into()))
            }
            other => {
                Err(FormatError(format!("XFCC_VALUE command does not support subcommand: {other}")))
            }
        }
    }

    pub(super) fn metadata(&self) -> Result<Op, FormatError> {
        let kind = self.args.split(':').next().unwrap_or_default();
        if METADATA_KINDS.contains(&kind) {
            return Ok(Op::Absent);
        }
        Err(FormatError(format!("{kind} is not supported type of metadata")))
    }

    pub(super) fn filter_state(&self) -> Result<Op, FormatError> {
        let mut parts = self.args.split(':');
        let key = parts.next().unwrap_or_default();
        let serialize = parts.next().unwrap_or_default();
        let field = parts.next().unwrap_or_default();
        if key.is_empty() {
            return Err(FormatError::new(
                "Invalid filter state configuration, key cannot be empty.",
            ));
        }
        if !matches!(serialize, "" | "PLAIN" | "TYPED" | "FIELD") {
            return Err(FormatError::new(
                "Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.",
            ));
        }
        if (serialize == "FIELD") == field.is_empty() {
            return Err(FormatError::new(
                "Invalid filter state serialize type, FIELD should be used with the field name.",
            ));
        }
        if self.name != "FILTER_STATE" {
            // Nothing is left on upstream connections.
            return Ok(Op::Absent);
        }
        let how = match serialize {
            "PLAIN" => Serialize::Plain,
            "FIELD" => Serialize::Field,
            _ => Serialize::Typed,
        };
        Ok(Op::FilterState(key.into(), how))
    }

    /// CEL is not evaluated yet: an expression prints as one without a result.
    pub(super) fn expression(&self) -> Result<Op, FormatError> {
        if self.args.trim().is_empty() {
            return Err(FormatError(format!(
                "Not able to parse expression: {} is empty",
                self.name
            )));
        }
        Ok(Op::Absent)
    }
}

const XFCC_KEYS: [&str; 7] = ["by", "hash", "cert", "chain", "subject", "uri", "dns"];
const METADATA_KINDS: [&str; 8] = [
    "DYNAMIC",
    "CLUSTER",
    "ROUTE",
    "UPSTREAM_HOST",
    "LISTENER",
    "LISTENER_FILTER_CHAIN",
    "VIRTUAL_HOST",
    "FILTER_CHAIN",
];

/// What a header name in a format string may consist of: what HTTP allows, and `:`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte)
}

/// Whether a time format would print a line feed: `%n`, with flags and width.
fn has_newline_specifier(format: &str) -> bool {
    format.split('%').skip(1).any(|spec| {
        let spec = spec.trim_start_matches(['-', '_', '0', '^', '#']);
        let spec = spec.trim_start_matches(|c: char| matches!(c, '1'..='9'));
        spec.strip_prefix(['E', 'O']).unwrap_or(spec).starts_with('n')
    })
}

fn point(name: &str) -> Point {
    match name {
        "DS_RX_BEG" => Point::DownstreamRxBegin,
        "DS_RX_END" => Point::DownstreamRxEnd,
        "US_CX_BEG" => Point::ConnectStart,
        "US_CX_END" => Point::ConnectEnd,
        "US_HS_END" => Point::HandshakeEnd,
        "US_TX_BEG" => Point::UpstreamTxBegin,
        "US_TX_END" => Point::UpstreamTxEnd,
        "US_RX_BEG" => Point::UpstreamRxBegin,
        "US_RX_END" => Point::UpstreamRxEnd,
        "DS_TX_BEG" => Point::DownstreamTxBegin,
        "DS_TX_END" => Point::DownstreamTxEnd,
        _ => Point::Never,
    }
}

/// An environment variable, read when the format is compiled; `-` if it is not set.
pub(super) fn environment(name: &str) -> Op {
    let value = std::env::var_os(name).map(|v| v.into_encoded_bytes());
    Op::Constant(value.unwrap_or_else(|| b"-".to_vec()).into())
}

/// The name of this machine, read when the format is compiled.
pub(super) fn host_name() -> Op {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    Op::Constant(if name.is_empty() { b"-".as_slice() } else { name.as_bytes() }.into())
}

/// `{"operators": ["NAME", {"command": "NAME", "param": "…", "max_length": n}, …]}`
pub(super) fn coalesce(json: &str, extensions: Extensions) -> Result<Op, FormatError> {
    let config: serde_json::Value = serde_json::from_str(json).map_err(|error| {
        FormatError(format!(
            "COALESCE: failed to parse JSON configuration: JSON supplied is not valid. \
             Error({error})"
        ))
    })?;
    let Some(operators) = config.get("operators").and_then(serde_json::Value::as_array) else {
        return Err(FormatError::new(
            "COALESCE: JSON configuration must contain 'operators' array",
        ));
    };
    if operators.is_empty() {
        return Err(FormatError::new("COALESCE: 'operators' array must not be empty"));
    }
    let segments = operators.iter().enumerate().map(|(i, entry)| {
        coalesce_entry(entry, extensions).map_err(|error| {
            FormatError(format!("COALESCE: failed to parse operator at index {i}: {error}"))
        })
    });
    Ok(Op::Coalesce(segments.collect::<Result<_, _>>()?))
}

fn coalesce_entry(
    entry: &serde_json::Value,
    extensions: Extensions,
) -> Result<Segment, FormatError> {
    let named = |name: &str, args: &str, max| match operator(name, args, max, extensions) {
        Err(error) if error.0.starts_with("Not supported field") => {
            Err(FormatError(format!("unknown command: '{name}'")))
        }
        result => result,
    };
    if let Some(name) = entry.as_str() {
        return named(name, "", None);
    }
    let Some(entry) = entry.as_object() else {
        return Err(FormatError::new("operator must be a string or an object"));
    };
    let Some(command) = entry.get("command").and_then(serde_json::Value::as_str) else {
        return Err(FormatError::new("operator object must have 'command' field"));
    };
    let args = entry.get("param").and_then(serde_json::Value::as_str).unwrap_or_default();
    let max = entry.get("max_length").and_then(serde_json::Value::as_u64);
    named(command, args, max.map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
}
