use super::*;

#[test]
fn each_time_lies_in_its_bucket_which_is_at_most_an_eighth_wide() {
    let mut last = 0;
    for shift in 0..41 {
        for step in 0..64 {
            let ns = (1_u64 << shift) + ((step << shift) >> 6);
            let bucket = bucket_of(ns);
            assert!(bucket >= last, "{ns} ns: buckets are in order");
            last = bucket;
            let least = if bucket == 0 { 0 } else { bucket_end(bucket - 1) + 1 };
            assert!((least..=bucket_end(bucket)).contains(&ns), "{ns} ns in bucket {bucket}");
            assert!(bucket == BUCKETS - 1 || bucket_end(bucket) - least <= least / 8, "{ns} ns");
        }
    }
    assert_eq!(bucket_of(1000), 63);
    assert_eq!((bucket_end(62) + 1, bucket_end(63)), (960, 1023));
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
}

#[test]
fn quantiles_are_those_of_the_counted_times() {
    let histogram = Histogram::new();
    (1..=1000).for_each(|us| histogram.note(us * 1000));
    let counts = histogram.counts();
    assert_eq!((counts.count(), counts.max_ns, counts.total_ns), (1000, 1_000_000, 500_500_000));
    for (of_thousand, exact) in [(500, 500_000), (900, 900_000), (990, 990_000), (1000, 1_000_000)]
    {
        let told = counts.quantile(of_thousand);
        assert!((exact..=exact + exact / 8).contains(&told), "{of_thousand}: {told}");
    }
    assert_eq!(Histogram::new().counts().quantile(500), 0);
}

#[test]
fn nothing_is_timed_before_somebody_asks_and_what_is_cancelled_never() {
    let latency = Latency::default();
    assert_eq!(latency.begin(), Began(0));
    assert_eq!(latency.counts(Op::Read).map(|counts| counts.count()), Some(0));
    assert_eq!(latency.counts(Op::Truncate), None);
    latency.note(Op::Read, Began(0), Ok(()));
    latency.note(Op::Read, latency.begin(), Err(libc::ECANCELED));
    latency.note(Op::Read, latency.begin(), Ok(()));
    latency.note(Op::Flush, latency.begin(), Err(libc::EIO));
    let count = |op| latency.counts(op).map(|counts| counts.count());
    assert_eq!((count(Op::Read), count(Op::Write), count(Op::Flush)), (Some(1), Some(0), Some(1)));
}
