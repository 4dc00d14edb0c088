//! What is a format string: every line was tried with Envoy 1.40.

use super::super::Format;

/// Accepted.
const GOOD: &[&str] = &[
    "%REQ(a):0%",
    "%%",
    "%PROTOCOL()%",
    "%START_TIME()%",
    "%START_TIME(a)b)%",
    "%START_TIME(%Y)%",
    "%START_TIME(%Q)%",
    "%START_TIME(%%)%",
    "%DYNAMIC_METADATA(a:b:c):10%",
    "%FILTER_STATE(a:FIELD:x)%",
    "%COMMON_DURATION(:b)%",
    "%GRPC_STATUS()%",
    "%ENVIRONMENT(a):3%",
    "%PATH(NQ:ORIG:x)%",
    "%PATH()%",
    "%PATH(NQ):3%",
    "%QUERY_PARAM(a):3%",
    "%QUERY_PARAMS():3%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(33)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(200)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT()%",
    "%DOWNSTREAM_PEER_CERT_V_START(%Y)%",
    "%DOWNSTREAM_PEER_CERT_V_START%",
    "%METADATA(CLUSTER)%",
    "%METADATA(ROUTE:a:b):4%",
    "%UPSTREAM_METADATA([\"a\",\"b\"])%",
    "%UPSTREAM_METADATA(a)%",
    "%RESP(a?b):10%",
    "%TRAILER(a)%",
    "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
    "%RESPONSE_CODE_DETAILS(X)%",
    "%REQUESTED_SERVER_NAME(SNI_ONLY)%",
    "%REQUESTED_SERVER_NAME(SNI_FIRST)%",
    "%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%",
    "%REQUESTED_SERVER_NAME(HOST_FIRST)%",
    "%REQUESTED_SERVER_NAME(HOST_FIRST:HOST)%",
    "%COALESCE({\"operators\":[\"TRACE_ID\"]}):5%",
    "%COALESCE({\"operators\":[{\"command\":\"REQ\",\"param\":\"a\",\"max_length\":3}]})%",
    "%XFCC_VALUE(uri)%",
    "%REQ(A-B_C)%",
    "%EMIT_TIME(%s)%",
    "%START_TIME_LOCAL(%s)%",
    "%START_TIME(%3f%7f%f)%",
    "%START_TIME( )%",
    "%REQ(:path?)%",
    "%REQ(?a)%",
    "%COMMON_DURATION(DS_RX_BEG:NEVER:ms)%",
    "%RESPONSE_TRAILERS_BYTES%",
    "x%PROTOCOL%%PROTOCOL%%%%PROTOCOL%y",
];

/// Rejected, with what the error begins with.
const BAD: &[(&str, &str)] = &[
    ("%REQ(%", "Incorrect configuration: %REQ(%. Couldn't find valid command at position 0"),
    ("%REQ(a%", "Incorrect configuration: %REQ(a%. Couldn't find valid command at position 0"),
    ("%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
    ("%REQ()%", "REQ requires parameters"),
    ("%REQ%", "REQ requires parameters"),
    (
        "%REQ(a):x%",
        "Incorrect configuration: %REQ(a):x%. Couldn't find valid command at position 0",
    ),
    (
        "%REQ(a):-1%",
        "Incorrect configuration: %REQ(a):-1%. Couldn't find valid command at position 0",
    ),
    ("%REQ(a)x%", "Incorrect configuration: %REQ(a)x%. Couldn't find valid command at position 0"),
    ("%REQ(a):5", "Incorrect configuration: %REQ(a):5. Couldn't find valid command at position 0"),
    ("%REQ(a", "Incorrect configuration: %REQ(a. Couldn't find valid command at position 0"),
    ("%", "Incorrect configuration: %. Couldn't find valid command at position 0"),
    ("%%%", "Incorrect configuration: %%%. Couldn't find valid command at position 2"),
    ("a%b", "Incorrect configuration: a%b. Couldn't find valid command at position 1"),
    ("%NOPE%", "Not supported field in StreamInfo: NOPE"),
    ("%NOPE(x)%", "Not supported field in StreamInfo: NOPE"),
    ("%nope%", "Incorrect configuration: %nope%. Couldn't find valid command at position 0"),
    ("%PROTOCOL(x)%", "PROTOCOL does not take any parameters or length"),
    ("%PROTOCOL:5%", "PROTOCOL does not take any parameters or length"),
    ("%PROTOCOL():5%", "PROTOCOL does not take any parameters or length"),
    (
        "%START_TIME(%",
        "Incorrect configuration: %START_TIME(%. Couldn't find valid command at position 0",
    ),
    ("%START_TIME(%n)%", "Invalid header configuration. Format string contains newline."),
    ("%START_TIME(%Y):5%", "START_TIME does not allow length to be specified."),
    ("%START_TIME:5%", "START_TIME does not allow length to be specified."),
    ("%DYNAMIC_METADATA%", "DYNAMIC_METADATA requires parameters"),
    ("%DYNAMIC_METADATA()%", "DYNAMIC_METADATA requires parameters"),
    ("%FILTER_STATE()%", "Invalid filter state configuration, key cannot be empty."),
    (
        "%FILTER_STATE(a:BAD)%",
        "Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.",
    ),
    (
        "%FILTER_STATE(a:FIELD)%",
        "Invalid filter state serialize type, FIELD should be used with the field name.",
    ),
    (
        "%FILTER_STATE(a:PLAIN:x)%",
        "Invalid filter state serialize type, FIELD should be used with the field name.",
    ),
    ("%COMMON_DURATION%", "COMMON_DURATION requires parameters"),
    ("%COMMON_DURATION()%", "COMMON_DURATION requires parameters"),
    ("%COMMON_DURATION(a)%", "Invalid common duration configuration: a."),
    ("%COMMON_DURATION(a:b:c)%", "Invalid common duration precision: c."),
    ("%COMMON_DURATION(a:b:s)%", "Invalid common duration precision: s."),
    ("%COMMON_DURATION(a:b:us:d)%", "Invalid common duration configuration: a:b:us:d."),
    (
        "%GRPC_STATUS(x)%",
        "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: x",
    ),
    ("%GRPC_STATUS(NUMBER):2%", "GRPC_STATUS does not allow length to be specified."),
    ("%GRPC_STATUS_NUMBER(x)%", "GRPC_STATUS_NUMBER does not take any parameters or length"),
    ("%ENVIRONMENT%", "ENVIRONMENT requires parameters"),
    ("%ENVIRONMENT()%", "ENVIRONMENT requires parameters"),
    ("%PATH(XX)%", "Invalid PATH option: 'XX', only 'WQ'/'NQ' are allowed"),
    ("%PATH(NQ:XX)%", "Invalid PATH option: 'XX', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"),
    ("%QUERY_PARAM%", "QUERY_PARAM requires parameters"),
    ("%QUERY_PARAM()%", "QUERY_PARAM requires parameters"),
    ("%QUERY_PARAMS(X)%", "Invalid QUERY_PARAMS option: 'X', only 'ORIG'/'DECODED' are allowed"),
    ("%TRACE_ID(x)%", "TRACE_ID does not take any parameters or length"),
    (
        "%DOWNSTREAM_REMOTE_ADDRESS(8)%",
        "DOWNSTREAM_REMOTE_ADDRESS does not take any parameters or length",
    ),
    (
        "%DOWNSTREAM_PEER_URI_SAN(x)%",
        "DOWNSTREAM_PEER_URI_SAN does not take any parameters or length",
    ),
    ("%METADATA(XX:a)%", "XX is not supported type of metadata"),
    ("%METADATA%", " is not supported type of metadata"),
    ("%CLUSTER_METADATA%", "CLUSTER_METADATA requires parameters"),
    ("%TRAILER(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"),
    ("%REQUEST_HEADER%", "REQUEST_HEADER requires parameters"),
    ("%RESPONSE_CODE_DETAILS():3%", "RESPONSE_CODE_DETAILS does not allow length to be specified."),
    ("%RESPONSE_CODE(1)%", "RESPONSE_CODE does not take any parameters or length"),
    ("%STREAM_INFO_REQ%", "STREAM_INFO_REQ requires parameters"),
    ("%HOSTNAME(x)%", "HOSTNAME does not take any parameters or length"),
    (
        "%REQUESTED_SERVER_NAME(x)%",
        "Invalid REQUESTED_SERVER_NAME option: 'x', only \
         'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed",
    ),
    (
        "%REQUESTED_SERVER_NAME(SNI_ONLY:X)%",
        "Invalid REQUESTED_SERVER_NAME option: 'X', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed",
    ),
    ("%COALESCE(x)%", "COALESCE: failed to parse JSON configuration: JSON supplied is not valid."),
    ("%COALESCE({})%", "COALESCE: JSON configuration must contain 'operators' array"),
    ("%COALESCE({\"operators\":[]})%", "COALESCE: 'operators' array must not be empty"),
    (
        "%COALESCE({\"operators\":[\"NOPE\"]})%",
        "COALESCE: failed to parse operator at index 0: unknown command: 'NOPE'",
    ),
    (
        "%COALESCE({\"operators\":[{\"param\":\"a\"}]})%",
        "COALESCE: failed to parse operator at index 0: operator object must have 'command' field",
    ),
    ("%UNIQUE_ID(x)%", "UNIQUE_ID does not take any parameters or length"),
    ("%LOCAL_REPLY_BODY(x)%", "LOCAL_REPLY_BODY does not take any parameters or length"),
    ("%LOCAL_REPLY_BODY:3%", "LOCAL_REPLY_BODY does not take any parameters or length"),
    ("%ACCESS_LOG_TYPE(x)%", "ACCESS_LOG_TYPE does not take any parameters or length"),
    ("%AUTHORITY%", "Not supported field in StreamInfo: AUTHORITY"),
    ("%HOST%", "Not supported field in StreamInfo: HOST"),
    ("%METHOD%", "Not supported field in StreamInfo: METHOD"),
    ("%REQUEST_PATH%", "Not supported field in StreamInfo: REQUEST_PATH"),
    ("%UPSTREAM_REQUEST_START%", "Not supported field in StreamInfo: UPSTREAM_REQUEST_START"),
    ("%XFCC_VALUE(x)%", "XFCC_VALUE command does not support subcommand: x"),
    ("%XFCC_VALUE%", "XFCC_VALUE command requires a subcommand"),
    ("%SECRET(x)%", "Not supported field in StreamInfo: SECRET"),
    ("%FILE_CONTENT(/etc/hostname)%", "Not supported field in StreamInfo: FILE_CONTENT"),
    ("%FILE_CONTENT%", "Not supported field in StreamInfo: FILE_CONTENT"),
    ("%FILE_CONTENT(/nonexist)%", "Not supported field in StreamInfo: FILE_CONTENT"),
    (
        "%REQ(a\nb)%",
        "Incorrect configuration: %REQ(a\nb)%. Couldn't find valid command at position 0",
    ),
    ("%req(a)%", "Incorrect configuration: %req(a)%. Couldn't find valid command at position 0"),
    ("%RESPONSE_FLAGS(x)%", "RESPONSE_FLAGS does not take any parameters or length"),
    ("%TLS_JA3_FINGERPRINT(x)%", "TLS_JA3_FINGERPRINT does not take any parameters or length"),
    ("%UPSTREAM_HOST(x)%", "UPSTREAM_HOST does not take any parameters or length"),
    ("%CUSTOM_FLAGS(x)%", "CUSTOM_FLAGS does not take any parameters or length"),
    ("%BYTES_SENT(x)%", "BYTES_SENT does not take any parameters or length"),
    ("%DURATION(x):3%", "DURATION does not take any parameters or length"),
    ("%UPSTREAM_PEER_URI_SAN(x)%", "UPSTREAM_PEER_URI_SAN does not take any parameters or length"),
    ("%REQ( a )%", "Invalid header configuration. Format string contains invalid characters."),
    ("%REQUEST_HEADERS_BYTES(x)%", "REQUEST_HEADERS_BYTES does not take any parameters or length"),
    ("%A B%", "Incorrect configuration: %A B%. Couldn't find valid command at position 0"),
    ("%1X%", "Not supported field in StreamInfo: 1X"),
    ("%_X%", "Not supported field in StreamInfo: _X"),
    ("% X%", "Incorrect configuration: % X%. Couldn't find valid command at position 0"),
    (
        "%PROTOCOL)%",
        "Incorrect configuration: %PROTOCOL)%. Couldn't find valid command at position 0",
    ),
    (
        "%PROTOCOL(%",
        "Incorrect configuration: %PROTOCOL(%. Couldn't find valid command at position 0",
    ),
];

#[test]
fn accepted_formats() {
    for format in GOOD {
        if let Err(error) = Format::parse(format) {
            panic!("{format}: {error}");
        }
    }
}

#[test]
fn rejected_formats() {
    for (format, wanted) in BAD {
        match Format::parse(format) {
            Ok(_) => panic!("{format}: accepted"),
            Err(error) => assert!(error.to_string().starts_with(wanted), "{format}: {error}"),
        }
    }
}
