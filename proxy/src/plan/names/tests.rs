use super::*;

#[test]
fn a_name_keeps_its_number() {
    let mut names = Names::<ClusterName>::default();
    let a = names.lease(&"a");
    let b = names.lease(&"b");
    assert_ne!(a.id, b.id);
    assert!(Arc::ptr_eq(&a, &names.lease(&"a")));
    assert_eq!(names.find(&"b").map(|name| name.id), Some(b.id));
    assert!(names.find(&"c").is_none());
}

#[test]
fn a_number_is_not_given_away_while_somebody_holds_it() {
    let mut names = Names::<ClusterName>::default();
    let a = names.lease(&"a");
    let id = a.id;
    let table = Arc::clone(&a);
    drop(a);
    assert_eq!(names.sweep(), 0);
    assert_ne!(names.lease(&"b").id, id);
    drop(table);
    assert_eq!(names.sweep(), 2);
    assert!(names.find(&"a").is_none());
    let ids = [names.lease(&"c").id, names.lease(&"d").id];
    assert!(ids.contains(&id));
    assert_eq!(names.capacity(), 2);
}

#[test]
fn the_same_name_of_two_sources_is_two_tables() {
    let mut names = Names::<RouteName>::default();
    let ads = ConfigSource::ads();
    let file = ConfigSource {
        origin: crate::plan::source::Origin::Path {
            path: "/routes.yaml".into(),
            watched_directory: None,
        },
        ..ads.clone()
    };
    let (one, two) = (names.lease(&("r", &ads)), names.lease(&("r", &file)));
    assert_ne!(one.slot, two.slot);
    assert_eq!(names.lease(&("r", &ads)).slot, one.slot);
}

#[test]
fn thousands_of_names_come_and_go() {
    let mut names = Names::<ClusterName>::default();
    for round in 0..5 {
        let held: Vec<_> = (0..1000).map(|i| names.lease(&&*format!("{round}.{i}"))).collect();
        let mut ids: Vec<_> = held.iter().map(|name| name.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1000);
        for name in &held {
            assert_eq!(names.find(&&*name.name).map(|found| found.id), Some(name.id));
        }
        drop(held);
        names.sweep();
    }
    assert_eq!(names.capacity(), 1000);
}
