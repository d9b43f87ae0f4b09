//! Throttles: with limits of any kind under requests that a drain lets go, and under scenes with
//! limits that hold nothing, since the model takes requests in where they are submitted.

use std::mem::{offset_of, size_of};
use std::ptr::{null, null_mut};

use blkalign::capi::*;

use crate::calls::{last_words, Disk};
use crate::input::Input;
use crate::structs::{submit, Raw};

type Limits = blkalign_throttle_limits;

fn raw_limits(input: &mut Input) -> Raw {
    let mut raw = Raw::new(input, size_of::<Limits>());
    let buckets = [
        offset_of!(Limits, bytes),
        offset_of!(Limits, read_bytes),
        offset_of!(Limits, write_bytes),
        offset_of!(Limits, requests),
        offset_of!(Limits, read_requests),
        offset_of!(Limits, write_requests),
    ];
    for bucket in buckets {
        if input.one_in(2) {
            let (rate, burst) = (bucket, bucket + size_of::<u64>());
            raw.set(rate, &input.pick(&[0, 1, 512, 1 << 30, u64::MAX]).to_ne_bytes());
            raw.set(burst, &input.pick(&[0, 0, 1, 4096, u64::MAX]).to_ne_bytes());
        }
    }
    raw.set(offset_of!(Limits, request_bytes), &input.pick(&[0, 1, 512, u64::MAX]).to_ne_bytes());
    raw
}

/// A throttle with odd limits: its handle gets it, requests go through it, and its limits change.
pub fn throttle(input: &mut Input, disk: Disk) {
    let (mut first, mut second) = (raw_limits(input), raw_limits(input));
    let given = if input.one_in(16) { null() } else { first.pointer::<Limits>().cast_const() };
    let mut throttle = null_mut();
    // SAFETY: NULL, or a struct as long as it says.
    let ret = unsafe { blkalign_throttle_new(given, &mut throttle) };
    assert!(ret <= 0 && (ret == 0) != throttle.is_null(), "a throttle: {ret}");
    assert!(ret == 0 || !last_words().is_empty(), "a failure without words");
    if ret < 0 {
        return;
    }
    let early = input.one_in(2);
    // SAFETY: an open handle, and a throttle that is freed once, and not used after that.
    unsafe {
        assert_eq!(blkalign_set_throttle(disk.0, throttle), 0);
        submit(input, disk);
        let changed = blkalign_throttle_set(throttle, second.pointer());
        assert!([0, -libc::EINVAL, -libc::E2BIG].contains(&changed), "{changed}");
        if early {
            assert_eq!(blkalign_throttle_free(throttle), 0);
        }
        submit(input, disk);
        assert_eq!(blkalign_set_throttle(disk.0, null_mut()), 0);
        if !early {
            assert_eq!(blkalign_throttle_free(throttle), 0);
        }
        assert_eq!(blkalign_throttle_free(null_mut()), 0);
    }
}

/// A handle gets a throttle that never holds anything, or loses it.
pub fn throttle_without_end(disk: Disk, on: bool) {
    // SAFETY: integers only.
    let mut limits: Limits = unsafe { std::mem::zeroed() };
    limits.size = size_of::<Limits>();
    limits.bytes = blkalign_bucket { rate: u64::MAX, burst: u64::MAX };
    limits.write_requests = limits.bytes;
    let mut throttle = null_mut();
    // SAFETY: as above; the handle keeps what it gets.
    unsafe {
        if on {
            assert_eq!(blkalign_throttle_new(&limits, &mut throttle), 0);
        }
        assert_eq!(blkalign_set_throttle(disk.0, throttle), 0);
        assert_eq!(blkalign_throttle_free(throttle), 0);
    }
    assert_eq!(disk.stats().throttled, 0, "held by limits that hold nothing");
}
