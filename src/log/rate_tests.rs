use super::*;

#[test]
fn a_burst_is_said_and_what_follows_is_counted() {
    let limit = RateLimit::default();
    let begin = Instant::now();
    for _ in 0..BURST {
        assert_eq!(limit.allows_at(begin), Some(0));
    }
    for _ in 0..7 {
        assert_eq!(limit.allows_at(begin + PERIOD / 2), None);
    }
    assert_eq!(limit.allows_at(begin + PERIOD), Some(7));
    assert_eq!(limit.allows_at(begin + PERIOD), Some(0));
    assert_eq!(limit.left_out(), 0);
}

#[test]
fn what_nobody_made_up_for_can_be_asked_for() {
    let limit = RateLimit::default();
    let begin = Instant::now();
    let said = (0..BURST + 3).filter(|_| limit.allows_at(begin).is_some()).count();
    assert_eq!((said as u64, limit.left_out(), limit.left_out()), (BURST, 3, 0));
}
