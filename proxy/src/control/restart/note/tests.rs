//! Notes come back as they were; nothing else is taken for one.

use std::path::Path;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = SockAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((ip, port)).into()),
        (any::<[u8; 16]>(), any::<u16>())
            .prop_map(|(ip, port)| SocketAddr::from((ip, port)).into()),
        "/[a-z/]{0,80}".prop_map(|path| SockAddr::Unix(UnixAddr::Path(path.into()))),
        vec(any::<u8>(), 0..100).prop_map(|name| SockAddr::Unix(UnixAddr::Abstract(name))),
        Just(SockAddr::Unix(UnixAddr::Unnamed)),
    ]
}

fn blob() -> impl Strategy<Value = Box<[u8]>> {
    vec(any::<u8>(), 0..40).prop_map(Into::into)
}

fn passport() -> impl Strategy<Value = Passport> {
    let who = ("[a-zé_0-9]{0,20}", address(), address(), option::of(address()));
    let found = (
        option::of(address()),
        any::<bool>(),
        any::<bool>(),
        option::of("[a-z.]{0,30}"),
        vec(blob(), 0..4),
        option::of(vec((any::<u8>(), blob()), 0..4)),
    );
    let state = (any::<u32>(), any::<u32>(), any::<bool>());
    (who, found, state).prop_map(|(who, found, state)| Passport {
        listener: who.0.into(),
        remote: who.1,
        local: who.2,
        direct_remote: who.3,
        direct_local: found.0,
        restored: found.1,
        tls: found.2,
        sni: found.3.map(Into::into),
        application_protocols: found.4,
        tlvs: found.5,
        age: Duration::from_millis(state.0.into()),
        served: state.1,
        http1: state.2,
    })
}

fn report() -> impl Strategy<Value = Report> {
    let values = || vec(("[a-z_.]{1,30}", any::<u64>()), 0..6);
    let scope = ("[a-z_.]{0,30}", values(), values(), vec(any::<(u16, u64)>(), 0..5));
    let scope = scope.prop_map(|(prefix, counters, gauges, codes)| ScopeValues {
        prefix,
        counters,
        gauges,
        codes,
    });
    (any::<u64>(), any::<bool>(), vec(scope, 0..5)).prop_map(|(connections, last, scopes)| Report {
        connections,
        last,
        scopes,
    })
}

fn note() -> impl Strategy<Value = Note> {
    prop_oneof![
        any::<(u32, u32)>().prop_map(|(version, epoch)| Note::Hello { version, epoch }),
        Just(Note::TakeAdmin),
        vec(address(), 0..20).prop_map(Note::Claim),
        Just(Note::TakeOver),
        Just(Note::Live),
        any::<u64>().prop_map(Note::Taken),
        any::<u64>().prop_map(Note::Refused),
        Just(Note::TellStats),
        Just(Note::Terminate),
        any::<(u32, u32, u64, u32)>().prop_map(|(version, epoch, generation, started)| {
            let started = Duration::from_millis(started.into());
            Note::Welcome { version, epoch, generation, started }
        }),
        ".{0,50}".prop_map(Note::Sorry),
        Just(Note::Socket),
        Just(Note::AllSockets),
        Just(Note::AdminStopped),
        Just(Note::Stopped),
        (any::<u64>(), passport().prop_map(Box::new))
            .prop_map(|(number, passport)| Note::Connection { number, passport }),
        report().prop_map(Note::Stats),
    ]
}

proptest! {
    #[test]
    fn a_note_comes_back_as_it_was(note in note()) {
        let bytes = note.encode().expect("small enough");
        prop_assert_eq!(Note::decode(&bytes), Ok(note));
    }

    #[test]
    fn a_cut_or_longer_note_is_garbage(note in note(), at in any::<prop::sample::Index>()) {
        let mut bytes = note.encode().expect("small enough");
        let cut = bytes.get(..at.index(bytes.len())).unwrap_or_default();
        prop_assert!(Note::decode(cut).is_err());
        bytes.push(0);
        prop_assert_eq!(Note::decode(&bytes), Err(Garbage::Long));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
        let _garbage_or_not = Note::decode(&bytes);
    }

    #[test]
    fn a_flipped_byte_is_survived(
        note in note(), at in any::<prop::sample::Index>(), by in 1_u8..,
    ) {
        let mut bytes = note.encode().expect("small enough");
        let at = at.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= by;
        }
        let _another_or_none = Note::decode(&bytes);
    }
}

#[test]
fn what_is_too_large_is_not_sent() {
    let name = SockAddr::unix(Path::new("/some/where"));
    let many = vec![name.clone(); LIST_MAX + 1];
    assert_eq!(Note::Claim(many).encode(), None);
    assert!(Note::Claim(vec![name; LIST_MAX]).encode().is_some());
    assert_eq!(Note::Sorry("x".repeat(70_000)).encode(), None);
    assert_eq!(Note::Sorry("x".repeat(NOTE_MAX)).encode(), None);
}

#[test]
fn a_length_that_lies_costs_nothing() {
    assert_eq!(Note::decode(&[3, 0xff, 0xff]), Err(Garbage::Value("the length of a list")));
    assert_eq!(Note::decode(&[3, 4, 0]), Err(Garbage::Short));
    assert_eq!(Note::decode(&[]), Err(Garbage::Short));
    assert_eq!(Note::decode(&[200]), Err(Garbage::Unknown(200)));
}
