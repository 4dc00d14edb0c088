use super::*;

#[test]
fn the_last_object_of_a_key_counts() {
    let mut state = FilterState::default();
    let key: Arc<str> = Arc::from("k");
    assert_eq!(state.get("k"), None);
    state.set(&key, Object::Text(Box::from(&b"one"[..])));
    state.set(&key, Object::Text(Box::from(&b"two"[..])));
    assert_eq!(state.state("k"), Some(StateValue::Text(b"two")));
    assert_eq!(state.state("other"), None);
}
