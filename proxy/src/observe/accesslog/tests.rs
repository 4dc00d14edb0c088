use std::sync::Arc;

use super::*;
use crate::observe::format::{AccessLogType, HeaderSource, ResponseFlag, ResponseFlags, Timings};

#[derive(Debug)]
struct Has(&'static str);

impl HeaderCondition for Has {
    fn holds(&self, headers: &dyn HeaderSource) -> bool {
        headers.get(self.0).is_some()
    }
}

fn compare(op: Op, value: u64) -> Comparison {
    Comparison { op, value }
}

#[test]
fn each_filter() {
    let request = [("x", "1"), ("content-type", "application/grpc")];
    let trailers = [("grpc-status", "14")];
    let ctx = LogContext {
        request_headers: Some(&request),
        response_trailers: Some(&trailers),
        response_code: 503,
        flags: ResponseFlag::UpstreamConnectionFailure.into(),
        timings: Timings { complete: Some(20_000_000), ..Timings::default() },
        stream_id: Some("00000031-0000-4000-8000-000000000000"),
        log_type: AccessLogType::DownstreamEnd,
        ..LogContext::default()
    };
    let fraction = |numerator| LogFilter::RuntimeFraction {
        numerator,
        denominator: 100,
        independent_randomness: false,
    };
    let yes = || LogFilter::StatusCode(compare(Op::Ge, 500));
    let no = || LogFilter::StatusCode(compare(Op::Eq, 200));
    let flags = |flag: ResponseFlag| LogFilter::ResponseFlag(ResponseFlags::from(flag));
    let grpc = |statuses, exclude| LogFilter::GrpcStatus { statuses, exclude };
    let ends =
        |exclude| LogFilter::LogType { types: [AccessLogType::DownstreamEnd].into(), exclude };
    let table = [
        (yes(), true),
        (no(), false),
        (LogFilter::StatusCode(compare(Op::Ne, 503)), false),
        (LogFilter::Duration(compare(Op::Le, 20)), true),
        (LogFilter::Duration(compare(Op::Ge, 21)), false),
        (LogFilter::NotHealthCheck, true),
        (LogFilter::Traceable, false),
        (fraction(50), true),
        (fraction(49), false),
        (fraction(0), false),
        (LogFilter::And([yes(), no()].into()), false),
        (LogFilter::Or([no(), yes()].into()), true),
        (LogFilter::Header(Arc::new(Has("x"))), true),
        (LogFilter::Header(Arc::new(Has("y"))), false),
        (LogFilter::ResponseFlag(ResponseFlags::NONE), true),
        (flags(ResponseFlag::UpstreamConnectionFailure), true),
        (flags(ResponseFlag::NoRouteFound), false),
        (grpc(1 << 14, false), true),
        (grpc(1 << 14, true), false),
        (grpc(1, false), false),
        (ends(false), true),
        (ends(true), false),
    ];
    for (i, (filter, wanted)) in table.into_iter().enumerate() {
        assert_eq!(filter.matches(&ctx), wanted, "{i}: {filter:?}");
    }
    assert!(!LogFilter::ResponseFlag(ResponseFlags::NONE).matches(&LogContext::default()));
}

#[test]
fn a_log_writes_what_its_filter_takes() {
    let mut log = AccessLog {
        sink: Sink::Stdout,
        format: LogFormat::Text(Format::parse("%RESPONSE_CODE%\n").expect("format")),
        filter: Some(LogFilter::StatusCode(compare(Op::Eq, 500))),
    };
    let ctx = LogContext { response_code: 200, ..LogContext::default() };
    let mut out = Vec::new();
    assert!(!log.log(&ctx, &mut out) && out.is_empty());
    log.filter = None;
    assert!(log.log(&ctx, &mut out));
    assert_eq!(out, b"200\n");
    assert_eq!((grpc_status_named("CANCELED"), grpc_status_named("X")), (Some(1), None));
}
