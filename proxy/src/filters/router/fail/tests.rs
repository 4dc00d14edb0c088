use super::*;

#[test]
fn wording_of_resets_is_that_of_envoy() {
    let reply = reset(
        Reset::ConnectFailure { timeout: false },
        Some("delayed connect error: Connection refused"),
        true,
    );
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.body,
        "upstream connect error or disconnect/reset before headers. \
         retried and the latest reset reason: remote connection failure"
    );
    assert_eq!(
        reply.details,
        "upstream_reset_before_response_started{remote_connection_failure|\
         delayed_connect_error:_Connection_refused}"
    );
    let reply = reset(Reset::Protocol, None, false);
    assert_eq!((reply.status, reply.flag), (502, Some(ResponseFlag::UpstreamProtocolError)));
    assert_eq!(reply.details, "upstream_reset_before_response_started{protocol_error}");
}

#[test]
fn an_idle_stream_is_the_clients_fault_while_it_is_still_sending() {
    assert_eq!(expired(Expired::Idle, false).status, 408);
    assert_eq!(expired(Expired::Idle, true).status, 504);
}
