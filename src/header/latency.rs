//! `blkalign_latency`: how long requests took.

/// How long the requests of one kind took, as blkalign_get_latency() reports
/// it: from the submission until the result was there, before the callback ran.
/// All times are nanoseconds. Start from BLKALIGN_LATENCY_INIT.
///
/// The numbers only grow, so that the difference of two reports is that of the
/// time in between.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_latency {
    /// sizeof(blkalign_latency), as the INIT macro sets it.
    pub size: usize,
    /// Number of requests that were over; cancelled ones are not counted.
    pub count: u64,
    /// Sum of their times.
    pub total_ns: u64,
    /// The longest time.
    pub max_ns: u64,
    /// The time that half of the requests did not exceed. It may be up to an
    /// eighth too long, here and below.
    pub p50_ns: u64,
    /// The time that 90 of 100 requests did not exceed.
    pub p90_ns: u64,
    /// The time that 99 of 100 requests did not exceed.
    pub p99_ns: u64,
    /// The time that 999 of 1000 requests did not exceed.
    pub p999_ns: u64,
    /// The histogram: how many requests took how long. Bucket 0 to 7 are those
    /// of 0 to 7 ns; from there on each power of two has eight buckets of one
    /// width. blkalign_latency_bucket_ns() gives the longest time of a bucket.
    pub buckets: [u64; 312],
}
