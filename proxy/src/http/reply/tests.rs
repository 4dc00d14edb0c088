use super::grpc_status;

#[test]
fn http_statuses_map_to_grpc() {
    for (http, grpc) in [(200, 2), (400, 13), (404, 12), (429, 14), (503, 14), (500, 2)] {
        assert_eq!(grpc_status(http), grpc, "{http}");
    }
}
