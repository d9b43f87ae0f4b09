use super::*;

#[test]
fn a_piece_given_back_is_used_again() {
    let mut cache = ScratchCache::default();
    let other = cache.take(100, 512).unwrap();
    let piece = cache.take(5000, 8192).unwrap();
    assert!(piece.bytes >= 5000 && piece.address % 8192 == 0);
    let address = piece.address;
    cache.give(piece);
    let again = cache.take(8192, 512).unwrap();
    assert_eq!(again.address, address);
    cache.give(again);
    cache.give(other);
}

#[test]
fn little_is_kept_when_nothing_is_in_flight() {
    let mut cache = ScratchCache::default();
    let pieces: Vec<_> = (0..64).map(|_| cache.take(65536, 512).unwrap()).collect();
    pieces.into_iter().for_each(|piece| cache.give(piece));
    assert!(cache.kept_bytes <= KEPT_IDLE_MAX);
    let sum: usize = cache.kept.iter().map(|piece| piece.bytes).sum();
    assert_eq!(sum, cache.kept_bytes);
}
