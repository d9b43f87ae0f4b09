use super::*;

const MS: Nanos = 1_000_000;

fn bucket(rate: u64, burst: u64) -> Bucket {
    Bucket::new(BucketLimits { rate, burst }, 0)
}

#[test]
fn a_full_bucket_gives_its_burst_and_then_the_rate() {
    let mut bucket = bucket(1000, 100);
    assert!((0..100).all(|_| bucket.take(1, 0)));
    assert!(!bucket.take(1, 0));
    assert_eq!(bucket.when(1, 0), MS);
    assert!(!bucket.take(1, MS - 1));
    assert!(bucket.take(1, MS));
    assert!(!bucket.take(1, MS));
}

#[test]
fn no_burst_means_a_tenth_of_the_rate_and_at_least_one() {
    let mut tenth = bucket(1000, 0);
    assert!(tenth.take(100, 0) && !tenth.take(1, 0));
    let mut one = bucket(3, 0);
    assert!(one.take(1, 0) && !one.take(1, 0));
}

#[test]
fn more_than_the_burst_goes_from_a_full_bucket_and_leaves_a_debt() {
    let mut bucket = bucket(1000, 100);
    assert!(bucket.take(150, 0));
    assert_eq!(bucket.when(1, 0), 51 * MS);
    assert_eq!(bucket.when(150, 0), 150 * MS);
    assert!(!bucket.take(150, 150 * MS - 1));
    assert!(bucket.take(150, 150 * MS));
}

#[test]
fn a_pause_brings_no_more_than_the_burst() {
    let mut bucket = bucket(1000, 100);
    assert!(bucket.take(100, 0));
    assert!(bucket.take(100, 3_600_000 * MS));
    assert!(!bucket.take(1, 3_600_000 * MS));
}

#[test]
fn who_is_woken_late_loses_nothing() {
    let mut bucket = bucket(100, 1);
    assert!(bucket.take(1, 0) && !bucket.take(1, 0));
    // 4 ms late: the next one may go 4 ms earlier.
    assert!(bucket.take(1, 14 * MS) && !bucket.take(1, 14 * MS));
    assert_eq!(bucket.when(1, 14 * MS), 20 * MS);
    // A second late: all but ten milliseconds are lost.
    assert!(bucket.take(1, 1000 * MS));
    assert!(bucket.take(1, 1000 * MS));
    assert!(!bucket.take(1, 1000 * MS));
}

#[test]
fn a_rate_that_does_not_divide_a_second_is_exact() {
    let mut bucket = bucket(3, 1);
    let mut taken = 0;
    let mut now = 0;
    while now < 1000 * 1000 * MS {
        assert!(bucket.take(1, now));
        assert!(!bucket.take(1, now));
        taken += 1;
        now = bucket.when(1, now);
    }
    assert_eq!(taken, 3001 - 1);
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let mut bucket = bucket(u64::MAX, u64::MAX);
    assert!(bucket.take(u64::MAX, 0));
    assert!(bucket.take(u64::MAX, Nanos::MAX));
    bucket.set(BucketLimits { rate: 1, burst: u64::MAX }, Nanos::MAX);
    assert!(!bucket.take(u64::MAX, Nanos::MAX));
    assert_eq!(bucket.when(u64::MAX, Nanos::MAX), Nanos::MAX);
}

#[test]
fn other_limits_keep_the_level_and_forgive_a_great_debt() {
    let mut bucket = bucket(1000, 100);
    assert!(bucket.take(90, 0));
    bucket.set(BucketLimits { rate: 1000, burst: 1000 }, 0);
    assert!(bucket.take(10, 0) && !bucket.take(1, 0));
    assert!(bucket.take(1000, 1000 * MS) && !bucket.take(1, 1000 * MS));
    bucket.set(BucketLimits { rate: 1000, burst: 1 }, 2000 * MS);
    assert!(bucket.take(1_000_000, 2000 * MS));
    bucket.set(BucketLimits { rate: 10, burst: 1 }, 2000 * MS);
    assert_eq!(bucket.when(1, 2000 * MS), 3100 * MS);
}

#[test]
fn limits_that_are_set_again_forgive_no_debt() {
    let limits = BucketLimits { rate: 1000, burst: 100 };
    let mut bucket = bucket(1000, 100);
    assert!(bucket.take(10_000, 0));
    bucket.set(limits, MS);
    bucket.set(BucketLimits { burst: 200, ..limits }, 2 * MS);
    assert_eq!(bucket.when(1, 2 * MS), 9901 * MS);
}
