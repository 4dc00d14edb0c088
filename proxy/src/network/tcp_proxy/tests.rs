use super::*;

/// What an idle connection costs is decided here.
#[test]
fn an_idle_connection_is_small() {
    fn future<F: Future>(_: fn(Box<Session>) -> F) -> usize {
        size_of::<F>()
    }
    assert!(size_of::<Session>() <= 368, "{}", size_of::<Session>());
    let task = future(serve);
    assert!(task <= 456, "{task}");
}
