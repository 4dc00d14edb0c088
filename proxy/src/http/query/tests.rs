use super::*;

fn changed(query: &str, key: &str, value: &str, action: AppendAction) -> String {
    let mut parameters = Parameters::parse(query.as_bytes());
    parameters.append(key.as_bytes(), value.as_bytes(), action);
    let mut out = Vec::new();
    parameters.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn parameters_are_added_and_replaced() {
    use AppendAction as A;
    for (query, action, wanted) in [
        ("", A::AppendIfExistsOrAdd, "?k=v%20%26"),
        ("k=1&a=2", A::AppendIfExistsOrAdd, "?a=2&k=1&k=v%20%26"),
        ("k=1&k=2", A::OverwriteIfExistsOrAdd, "?k=v%20%26"),
        ("a", A::OverwriteIfExists, "?a="),
        ("%6b=1", A::OverwriteIfExists, "?k=v%20%26"),
        ("k=1", A::AddIfAbsent, "?k=1"),
    ] {
        assert_eq!(changed(query, "k", "v &", action), wanted, "{query}");
    }
}

#[test]
fn what_is_left_alone_stays_encoded() {
    let query = "z=a%20b&x=%26%3D&y=%0d%0a";
    let wanted = "?k=v&x=%26%3D&y=%0d%0a&z=a%20b";
    assert_eq!(changed(query, "k", "v", AppendAction::AppendIfExistsOrAdd), wanted);
}
