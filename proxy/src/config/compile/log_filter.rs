//! `AccessLogFilter`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::accesslog::v3 as api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::data::accesslog::v3::AccessLogType as ApiLogType;

use super::at::At;
use super::cx::Cx;
use super::headers;
use super::scalar::{fractional_percent, type_name};
use crate::observe::accesslog::{Comparison, LogFilter, Op};
use crate::observe::format::{AccessLogType, ResponseFlag, ResponseFlags};
use crate::plan::route::Fraction;

/// Compiles a filter; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filter: &api::AccessLogFilter,
) -> Option<LogFilter> {
    use api::access_log_filter::FilterSpecifier as Filter;
    let api::AccessLogFilter { filter_specifier } = filter;
    match filter_specifier {
        Some(Filter::StatusCodeFilter(api::StatusCodeFilter { comparison })) => {
            comparison_of(cx, &at.field("status_code_filter"), comparison.as_ref())
                .map(LogFilter::StatusCode)
        }
        Some(Filter::DurationFilter(api::DurationFilter { comparison })) => {
            comparison_of(cx, &at.field("duration_filter"), comparison.as_ref())
                .map(LogFilter::Duration)
        }
        Some(Filter::NotHealthCheckFilter(api::NotHealthCheckFilter {})) => {
            Some(LogFilter::NotHealthCheck)
        }
        Some(Filter::TraceableFilter(api::TraceableFilter {})) => Some(LogFilter::Traceable),
        Some(Filter::RuntimeFilter(filter)) => {
            Some(runtime_filter(cx, &at.field("runtime_filter"), filter))
        }
        Some(Filter::AndFilter(api::AndFilter { filters })) => {
            list(cx, &at.field("and_filter"), filters).map(LogFilter::And)
        }
        Some(Filter::OrFilter(api::OrFilter { filters })) => {
            list(cx, &at.field("or_filter"), filters).map(LogFilter::Or)
        }
        Some(Filter::HeaderFilter(api::HeaderFilter { header })) => {
            let at = at.field("header_filter");
            let header = header.clone().into_iter().collect::<Vec<_>>();
            let matcher = headers::matchers(cx, &at.field("header"), &header).pop()?;
            Some(LogFilter::Header(Arc::new(matcher)))
        }
        Some(Filter::ResponseFlagFilter(filter)) => {
            response_flags(cx, &at.field("response_flag_filter"), filter)
        }
        Some(Filter::GrpcStatusFilter(filter)) => Some(grpc_status(filter)),
        Some(Filter::LogTypeFilter(filter)) => Some(log_type(filter)),
        Some(Filter::ExtensionFilter(filter)) => {
            let at = at.field("extension_filter");
            let api::ExtensionFilter { name, config_type } = filter;
            match config_type {
                Some(api::extension_filter::ConfigType::TypedConfig(any)) => {
                    cx.unsupported_value(&at.field("typed_config"), type_name(&any.type_url));
                }
                None => cx.unsupported_value(&at, &format!("extension '{name}'")),
            }
            None
        }
        Some(Filter::MetadataFilter(_)) => {
            cx.unsupported(&at.field("metadata_filter"));
            None
        }
        None => {
            cx.invalid(at, "a filter is required");
            None
        }
    }
}

/// All filters of an `and` or `or`; `None` if one of them is wrong.
fn list(cx: &mut Cx<'_>, at: &At<'_>, list: &[api::AccessLogFilter]) -> Option<Box<[LogFilter]>> {
    let at = at.field("filters");
    let mut out = Vec::with_capacity(list.len());
    for (index, filter) in list.iter().enumerate() {
        out.push(compile(cx, &at.index(index), filter));
    }
    out.into_iter().collect()
}

fn comparison_of(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    comparison: Option<&api::ComparisonFilter>,
) -> Option<Comparison> {
    let Some(api::ComparisonFilter { op, value: Some(value) }) = comparison else {
        cx.invalid(&at.field("comparison"), "value is required");
        return None;
    };
    let core::RuntimeUInt32 { default_value, runtime_key } = value;
    let op = match api::comparison_filter::Op::try_from(*op) {
        Ok(api::comparison_filter::Op::Ge) => Op::Ge,
        Ok(api::comparison_filter::Op::Le) => Op::Le,
        Ok(api::comparison_filter::Op::Ne) => Op::Ne,
        Ok(api::comparison_filter::Op::Eq) | Err(_) => Op::Eq,
    };
    let value = cx.runtime.integer(runtime_key, u64::from(*default_value));
    Some(Comparison { op, value })
}

fn runtime_filter(cx: &mut Cx<'_>, at: &At<'_>, filter: &api::RuntimeFilter) -> LogFilter {
    let api::RuntimeFilter { runtime_key, percent_sampled, use_independent_randomness } = filter;
    let default = match percent_sampled {
        Some(percent) => fractional_percent(cx, &at.field("percent_sampled"), percent),
        None => Fraction { numerator: 0, denominator: 100 },
    };
    let Fraction { numerator, denominator } = cx.runtime.fraction(runtime_key, default);
    let independent_randomness = *use_independent_randomness;
    LogFilter::RuntimeFraction { numerator, denominator, independent_randomness }
}

fn response_flags(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    filter: &api::ResponseFlagFilter,
) -> Option<LogFilter> {
    let api::ResponseFlagFilter { flags } = filter;
    let mut set = ResponseFlags::default();
    for (index, name) in flags.iter().enumerate() {
        match ResponseFlag::from_short(name) {
            Some(flag) => set.insert(flag),
            None => {
                let message = format!("'{name}' is no response flag");
                cx.invalid(&at.field("flags").index(index), message);
                return None;
            }
        }
    }
    Some(LogFilter::ResponseFlag(set))
}

fn grpc_status(filter: &api::GrpcStatusFilter) -> LogFilter {
    let api::GrpcStatusFilter { statuses, exclude } = filter;
    let bits = statuses.iter().filter_map(|status| u32::try_from(*status).ok());
    let statuses = bits.filter(|bit| *bit < 32).fold(0, |all, bit| all | 1 << bit);
    LogFilter::GrpcStatus { statuses, exclude: *exclude }
}

fn log_type(filter: &api::LogTypeFilter) -> LogFilter {
    let api::LogTypeFilter { types, exclude } = filter;
    let of = |value: &i32| match ApiLogType::try_from(*value) {
        Ok(ApiLogType::TcpConnectionStart) => AccessLogType::TcpConnectionStart,
        Ok(ApiLogType::TcpUpstreamConnected) => AccessLogType::TcpUpstreamConnected,
        Ok(ApiLogType::TcpPeriodic) => AccessLogType::TcpPeriodic,
        Ok(ApiLogType::TcpConnectionEnd) => AccessLogType::TcpConnectionEnd,
        Ok(ApiLogType::DownstreamStart) => AccessLogType::DownstreamStart,
        Ok(ApiLogType::DownstreamPeriodic) => AccessLogType::DownstreamPeriodic,
        Ok(ApiLogType::DownstreamEnd) => AccessLogType::DownstreamEnd,
        Ok(ApiLogType::UpstreamPoolReady) => AccessLogType::UpstreamPoolReady,
        Ok(ApiLogType::UpstreamPeriodic) => AccessLogType::UpstreamPeriodic,
        Ok(ApiLogType::UpstreamEnd) => AccessLogType::UpstreamEnd,
        Ok(ApiLogType::DownstreamTunnelSuccessfullyEstablished) => {
            AccessLogType::DownstreamTunnelSuccessfullyEstablished
        }
        Ok(_) | Err(_) => AccessLogType::NotSet,
    };
    LogFilter::LogType { types: types.iter().map(of).collect(), exclude: *exclude }
}
