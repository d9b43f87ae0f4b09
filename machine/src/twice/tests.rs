//! Memory that is named twice is found, and no other.

use super::{each_once, Twice};
use crate::io::Segment;
use crate::proof::rng::Rng;

fn elements(of: &[(usize, usize)]) -> Vec<Segment> {
    of.iter().map(|&(address, bytes)| Segment { address, bytes }).collect()
}

fn spans(of: &[(usize, usize)]) -> Vec<(usize, usize)> {
    Twice::of(&elements(of)).0.iter().map(|span| (span.start, span.end)).collect()
}

#[test]
fn elements_side_by_side_share_nothing() {
    assert!(spans(&[]).is_empty());
    assert!(spans(&[(0, 4096)]).is_empty());
    assert!(spans(&[(0, 4096), (4096, 4096)]).is_empty());
    assert!(spans(&[(8192, 4096), (4096, 4096), (0, 4096)]).is_empty());
}

#[test]
fn only_what_is_shared_is_named() {
    assert_eq!(spans(&[(0, 4096), (0, 4096)]), [(0, 4096)]);
    assert_eq!(spans(&[(0, 4096), (8192, 512), (2048, 4096)]), [(2048, 4096)]);
    // The third lies inside the first, and so does the fourth; what they share is one piece.
    assert_eq!(spans(&[(0, 8192), (9000, 8), (512, 512), (1024, 512)]), [(512, 1536)]);
    // A long element is not forgotten behind a short one.
    assert_eq!(spans(&[(0, 9000), (100, 50), (8000, 2000)]), [(100, 150), (8000, 9000)]);
}

#[test]
fn what_lies_before_it_is_clear() {
    let twice = Twice::of(&elements(&[(4096, 4096), (4096, 4096), (20480, 512), (20480, 512)]));
    assert_eq!(twice.clear_from(0, 10_000), 4096);
    assert_eq!(twice.clear_from(0, 100), 100);
    assert_eq!(twice.clear_from(4096, 1), 0);
    assert_eq!(twice.clear_from(8191, 1), 0);
    assert_eq!(twice.clear_from(8192, 100_000), 20480 - 8192);
    assert_eq!(twice.clear_from(20992, 100_000), 100_000);
}

/// Against a count of each byte, vectors short and long, in order and not.
#[test]
fn random_vectors_are_judged_byte_by_byte() {
    let mut rng = Rng::new(1);
    let (mut shared, mut apart) = (0, 0);
    for _ in 0..20_000 {
        let count = 1 + rng.index(20);
        let room = rng.pick(&[64, 512, 4096]);
        let mut of: Vec<(usize, usize)> =
            (0..count).map(|_| (rng.index(room), 1 + rng.index(12))).collect();
        if rng.percent(30) {
            of.sort_unstable();
        }
        let mut named = vec![0; room + 16];
        of.iter().for_each(|&(at, bytes)| named[at..at + bytes].iter_mut().for_each(|n| *n += 1));
        let twice = Twice::of(&elements(&of));
        for (at, &times) in named.iter().enumerate() {
            assert_eq!(twice.clear_from(at, 1) == 0, times > 1, "{at} of {of:?}");
        }
        let once = named.iter().all(|&times| times < 2);
        assert_eq!(each_once(&elements(&of)), once, "{of:?}");
        *(if once { &mut apart } else { &mut shared }) += 1;
    }
    assert!(shared > 1000 && apart > 1000, "{shared} {apart}");
}
