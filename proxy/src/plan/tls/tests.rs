//! Tickets, stores and names.

use rustls::server::{ProducesTickets, StoresServerSessions};

use super::san::dns_matches;
use super::session::{SessionTable, TICKET_KEY, Tickets};

#[test]
fn tickets_open_under_their_key_and_context_only() {
    let (key, other) = ([1; TICKET_KEY], [2; TICKET_KEY]);
    let make = |keys: &[[u8; TICKET_KEY]], context| Tickets::new(keys, 60, [context; 32]).unwrap();
    let tickets = make(&[key], 0);
    let ticket = tickets.encrypt(b"session").unwrap();
    assert_eq!(tickets.decrypt(&ticket).unwrap(), b"session");
    // Another process with the same key, though it makes its own with a newer one.
    assert_eq!(make(&[other, key], 0).decrypt(&ticket).unwrap(), b"session");
    assert_eq!(make(&[other], 0).decrypt(&ticket), None);
    assert_eq!(make(&[key], 1).decrypt(&ticket), None);
    for cut in 0..ticket.len() {
        assert_eq!(tickets.decrypt(&ticket[..cut]), None);
    }
    for at in 0..ticket.len() {
        let mut forged = ticket.clone();
        forged[at] ^= 1;
        assert_eq!(tickets.decrypt(&forged), None, "byte {at}");
    }
}

#[test]
fn generated_keys_differ() {
    let make = || Tickets::new(&[], 60, [0; 32]).unwrap();
    let (one, two) = (make(), make());
    assert_eq!(two.decrypt(&one.encrypt(b"x").unwrap()), None);
}

#[test]
fn a_session_is_taken_once() {
    let table = SessionTable::new(8, 60);
    assert!(table.put(b"id".to_vec(), b"value".to_vec()));
    assert_eq!(table.get(b"id").unwrap(), b"value");
    assert_eq!(table.get(b"other"), None);
    assert_eq!(table.take(b"id").unwrap(), b"value");
    assert_eq!(table.take(b"id"), None);
    assert!(!SessionTable::new(0, 60).can_cache());
}

#[test]
fn wildcards_cover_one_label() {
    let cases = [
        ("a.example.com", "a.example.com", true),
        ("A.example.com", "a.EXAMPLE.com", true),
        ("a.example.com", "*.example.com", true),
        ("a.b.example.com", "*.example.com", false),
        ("example.com", "*.example.com", false),
        (".example.com", "*.example.com", false),
        ("example.com", "*.com", false),
        ("web1.example.com", "web*.example.com", true),
        ("api.example.com", "web*.example.com", false),
        ("a.example.com", "*", false),
    ];
    for (name, pattern, expected) in cases {
        assert_eq!(dns_matches(name, pattern), expected, "{name} {pattern}");
    }
}
