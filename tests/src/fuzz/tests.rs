use super::mutate::{Rng, run};
use super::{Target, cuts};
use std::time::Duration;

#[test]
fn every_way_to_cut_covers_the_input() {
    for input in [&b""[..], b"a", b"GET / HTTP/1.1\r\n\r\n"] {
        let ways = cuts::ways(input);
        assert_eq!(ways, cuts::ways(input), "the same input is cut alike");
        for ends in ways {
            assert!(ends.is_sorted());
            assert_eq!(ends.last().copied().unwrap_or(0), input.len());
        }
    }
}

#[test]
fn numbers_stay_below_their_bound() {
    let mut rng = Rng::new(1);
    assert!((0..1000).all(|_| rng.below(3) < 3));
    assert_eq!(rng.below(0), 0);
    assert_ne!(Rng::of_bytes(b"a").below(1 << 30), Rng::of_bytes(b"b").below(1 << 30));
}

#[test]
fn a_panic_is_found_kept_and_found_again() -> anyhow::Result<()> {
    fn fails(input: &[u8]) {
        assert!(!input.contains(&b'!'), "a panic on purpose");
    }
    let target = Target { name: "on-purpose", run: fails, words: &["!"], shared: "none" };
    let seeds = [b"seed".to_vec()];
    let find = || run(&target, &seeds, 7, Duration::from_secs(20));
    let (Err(first), Err(second)) = (find()?, find()?) else {
        panic!("a word that fails was never put in")
    };
    assert_eq!(first.round, second.round, "the same seed makes the same inputs");
    assert!(std::fs::read(&first.file)?.contains(&b'!'));
    std::fs::remove_file(first.file)?;
    Ok(())
}
