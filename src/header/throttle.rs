//! What `<blkalign.h>` declares for throttles.

/// Limits that handles share: see blkalign_throttle_new(). Any thread may use a
/// throttle at any time until blkalign_throttle_free().
pub struct blkalign_throttle {
    _opaque: [u8; 0],
}

/// One limit of a throttle, as a token bucket: `rate` tokens come each second,
/// and at most `burst` of them are kept.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_bucket {
    /// Bytes, or requests, a second. 0: no limit.
    pub rate: u64,
    /// Bytes, or requests, that may go at once after a pause. 0: a tenth of
    /// `rate`, at least 1. A request that needs more than `burst` goes when the
    /// bucket is full; those behind it wait until what it took has come again.
    pub burst: u64,
}

/// The limits of a throttle. Start from BLKALIGN_THROTTLE_LIMITS_INIT: no
/// limits. A request goes when every bucket that counts it has tokens for it.
/// Zero writes and discards count as writes of their length. In any second the
/// requests of a throttle move at most `rate` + `burst`, and at least 95
/// percent of `rate` if there are requests for that.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_throttle_limits {
    /// sizeof(blkalign_throttle_limits), as the INIT macro sets it.
    pub size: usize,
    /// Limit of bytes that are read or written.
    pub bytes: blkalign_bucket,
    /// Limit of bytes that are read.
    pub read_bytes: blkalign_bucket,
    /// Limit of bytes that are written.
    pub write_bytes: blkalign_bucket,
    /// Limit of reads and writes together.
    pub requests: blkalign_bucket,
    /// Limit of reads.
    pub read_requests: blkalign_bucket,
    /// Limit of writes.
    pub write_requests: blkalign_bucket,
    /// In the buckets of requests a request of more bytes counts as several:
    /// its length divided by this number, rounded up. 0: each request is one.
    pub request_bytes: u64,
}
