use super::*;
use crate::proof::rng::Rng;

const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1000 * MS;

fn limits(kinds: &[(Kind, u64, u64)]) -> ThrottleLimits {
    let mut limits = ThrottleLimits::default();
    for &(kind, rate, burst) in kinds {
        limits.buckets[kind as usize] = BucketLimits { rate, burst };
    }
    limits
}

fn read(bytes: u64) -> Load {
    Load { reads: true, bytes }
}

fn write(bytes: u64) -> Load {
    Load { reads: false, bytes }
}

/// Submits as a handle does. Returns what goes because of it.
fn submit(
    throttle: &mut Throttle<u32>,
    member: MemberId,
    tag: u32,
    load: Load,
    now: Nanos,
) -> Vec<u32> {
    if throttle.try_pass(load, now) {
        return vec![tag];
    }
    match throttle.hold(member, tag, load, now) {
        true => released(throttle, now),
        false => Vec::new(),
    }
}

fn released(throttle: &mut Throttle<u32>, now: Nanos) -> Vec<u32> {
    let mut released = Vec::new();
    throttle.release(now, &mut released);
    released.iter().map(|its| its.tag).collect()
}

#[test]
fn without_limits_all_go() {
    let mut throttle = Throttle::new(&ThrottleLimits::default(), 0);
    let member = throttle.join();
    assert!((0..1000).all(|tag| submit(&mut throttle, member, tag, write(1 << 40), 0) == [tag]));
    assert_eq!(throttle.next_due(0), None);
}

#[test]
fn members_take_turns_and_keep_their_own_order() {
    let mut throttle = Throttle::new(&limits(&[(Kind::Requests, 10, 1)]), 0);
    let (a, b) = (throttle.join(), throttle.join());
    assert_eq!(submit(&mut throttle, a, 0, write(1), 0), [0]);
    for tag in 1..4 {
        assert_eq!(submit(&mut throttle, a, tag, write(1), 0), []);
    }
    assert_eq!(submit(&mut throttle, b, 11, read(1), 0), []);
    assert_eq!(submit(&mut throttle, b, 12, read(1), 0), []);
    let mut order = Vec::new();
    let mut now = 0;
    while let Some(due) = throttle.next_due(now) {
        assert!(due == now + 100 * MS);
        now = due;
        order.extend(released(&mut throttle, now));
    }
    assert_eq!(order, [1, 11, 2, 12, 3]);
}

#[test]
fn who_waits_for_one_bucket_holds_up_nobody_who_needs_none_of_it() {
    let kinds = [(Kind::Bytes, 100, 100), (Kind::ReadBytes, 10, 10)];
    let mut throttle = Throttle::new(&limits(&kinds), 0);
    let (a, b, c) = (throttle.join(), throttle.join(), throttle.join());
    assert_eq!(submit(&mut throttle, a, 1, read(10), 0), [1]);
    assert_eq!(submit(&mut throttle, a, 2, read(10), 0), []);
    assert_eq!(submit(&mut throttle, b, 3, write(50), 0), [3]);
    assert_eq!(submit(&mut throttle, c, 4, read(10), 0), []);
    // A's own write stays behind its read.
    assert_eq!(submit(&mut throttle, a, 5, write(1), 0), []);
    // 100 less the 10 and the 50 that went, and the 10 that are kept for A's read.
    assert_eq!(submit(&mut throttle, b, 6, write(31), 0), []);
    assert_eq!(submit(&mut throttle, c, 7, write(1), 0), []);
    assert_eq!(throttle.next_due(0), Some(10 * MS));
    assert_eq!(released(&mut throttle, 10 * MS), [6]);
    assert_eq!(released(&mut throttle, SECOND), [2, 5]);
    assert_eq!(released(&mut throttle, 2 * SECOND), [4, 7]);
}

#[test]
fn what_costs_nothing_passes_those_that_wait() {
    let mut throttle = Throttle::new(&limits(&[(Kind::WriteRequests, 10, 1)]), 0);
    let (a, b) = (throttle.join(), throttle.join());
    assert_eq!(submit(&mut throttle, a, 1, write(1), 0), [1]);
    assert_eq!(submit(&mut throttle, a, 2, write(1), 0), []);
    assert_eq!(submit(&mut throttle, b, 3, read(1), 0), [3]);
    assert_eq!(submit(&mut throttle, a, 4, read(1), 0), []);
    assert_eq!(released(&mut throttle, 100 * MS), [2, 4]);
}

#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let mut throttle = Throttle::new(&limits(&[(Kind::Bytes, 1000, 1000)]), 0);
    let (large, small) = (throttle.join(), throttle.join());
    assert_eq!(submit(&mut throttle, small, 0, write(1000), 0), [0]);
    assert_eq!(submit(&mut throttle, large, 1, write(900), 0), []);
    for tag in 2..100 {
        assert_eq!(submit(&mut throttle, small, tag, write(1), 0), []);
    }
    assert_eq!(throttle.next_due(0), Some(900 * MS));
    assert_eq!(released(&mut throttle, 899 * MS), []);
    assert_eq!(released(&mut throttle, 900 * MS), [1]);
    assert_eq!(released(&mut throttle, 901 * MS), [2]);
}

#[test]
fn a_request_of_many_bytes_counts_as_several() {
    let mut limits = limits(&[(Kind::Requests, 10, 4)]);
    limits.request_bytes = 4096;
    let mut throttle = Throttle::new(&limits, 0);
    let member = throttle.join();
    assert_eq!(submit(&mut throttle, member, 1, read(4096 * 2 + 1), 0), [1]);
    assert_eq!(submit(&mut throttle, member, 2, read(0), 0), [2]);
    assert_eq!(submit(&mut throttle, member, 3, read(1), 0), []);
}

#[test]
fn what_is_forgotten_gives_its_tokens_back() {
    let kinds = [(Kind::Bytes, 100, 100), (Kind::Requests, 10, 1)];
    let mut throttle = Throttle::new(&limits(&kinds), 0);
    let (a, b) = (throttle.join(), throttle.join());
    assert_eq!(submit(&mut throttle, a, 1, read(1), 0), [1]);
    assert_eq!(submit(&mut throttle, a, 2, read(99), 0), []);
    assert_eq!(submit(&mut throttle, b, 3, read(99), 0), []);
    assert_eq!(throttle.forget(a, 2, 7), Some(7));
    assert_eq!(throttle.forget(a, 2, 7), None);
    assert!(!throttle.holds(a) && throttle.holds(b));
    assert_eq!(released(&mut throttle, 100 * MS), [3]);
    throttle.leave(a);
    assert_eq!(throttle.join(), a);
}

#[test]
fn what_is_let_go_costs_nothing() {
    let mut throttle = Throttle::new(&limits(&[(Kind::Requests, 10, 1)]), 0);
    let (a, b) = (throttle.join(), throttle.join());
    for tag in 0..100 {
        submit(&mut throttle, a, tag, read(1), 0);
    }
    assert_eq!(submit(&mut throttle, b, 200, read(1), 50 * MS), []);
    let mut gone = Vec::new();
    throttle.let_go(a, 50 * MS, &mut gone);
    let expected = (1..100).map(|tag| Released { member: a, tag, held: 50 * MS });
    assert!(gone.into_iter().eq(expected));
    assert_eq!(released(&mut throttle, 100 * MS), [200]);
    assert_eq!(throttle.next_due(100 * MS), None);
}

#[test]
fn other_limits_hold_for_what_is_held() {
    let mut throttle = Throttle::new(&limits(&[(Kind::Requests, 10, 1)]), 0);
    let member = throttle.join();
    for tag in 0..6 {
        submit(&mut throttle, member, tag, read(100), 0);
    }
    throttle.set(&limits(&[(Kind::Requests, 1000, 1)]), 0);
    assert_eq!(released(&mut throttle, 0), []);
    assert_eq!(throttle.next_due(0), Some(MS));
    assert_eq!(released(&mut throttle, MS), [1]);
    throttle.set(&limits(&[(Kind::ReadBytes, 200, 200)]), MS);
    assert_eq!(released(&mut throttle, MS), [2, 3]);
    throttle.set(&ThrottleLimits::default(), MS);
    assert_eq!(released(&mut throttle, MS), [4, 5]);
}

/// Members that always have more to submit than may go, for three seconds; a timer that is up to 2
/// ms late.
struct Saturated {
    limits: ThrottleLimits,
    largest: u64,
    went: Vec<(Nanos, MemberId, u64)>,
}

fn saturate(limits: ThrottleLimits, members: usize, rng: &mut Rng) -> Saturated {
    let mut throttle = Throttle::new(&limits, 0);
    let largest = 1 << (9 + rng.below(5));
    let draw = |rng: &mut Rng| write(1 + rng.below(largest));
    let members: Vec<MemberId> = (0..members).map(|_| throttle.join()).collect();
    let mut loads = std::collections::HashMap::new();
    let mut next = 0;
    let mut went = Vec::new();
    let mut submit_one = |throttle: &mut Throttle<u32>, member, now, rng: &mut Rng| {
        let load = draw(rng);
        next += 1;
        loads.insert(next, load.bytes);
        let direct = throttle.try_pass(load, now);
        if !direct && throttle.hold(member, next, load, now) {
            assert_eq!(released(throttle, now), [], "the bucket was empty");
        }
        (direct, load.bytes)
    };
    for &member in &members {
        for _ in 0..512 {
            while let (true, bytes) = submit_one(&mut throttle, member, 0, rng) {
                went.push((0, member, bytes));
            }
        }
    }
    let mut now = 0;
    let mut gone = Vec::new();
    while now < 3 * SECOND {
        throttle.release(now, &mut gone);
        while let Some(its) = gone.pop() {
            let (direct, _) = submit_one(&mut throttle, its.member, now, rng);
            assert!(!direct, "the others wait");
            went.push((now, its.member, u64::from(its.tag)));
        }
        let due = throttle.next_due(now).expect("all are saturated");
        now = due.max(now) + rng.below(2 * MS);
    }
    // Those that were held were noted by their tags.
    let first = went.iter().take_while(|its| its.0 == 0).count();
    went[first..].iter_mut().for_each(|its| its.2 = loads[&(its.2 as u32)]);
    Saturated { limits, largest, went }
}

impl Saturated {
    /// What went in each second, for every window that begins with a request.
    fn check(&self, count: impl Fn(u64) -> u64, kind: Kind, one: u64) {
        let BucketLimits { rate, burst } = self.limits.buckets[kind as usize];
        let burst = if burst == 0 { (rate / 10).max(1) } else { burst };
        let most = rate + burst + rate / 100 + one;
        let least = rate * 95 / 100;
        let (mut sum, mut end) = (0, 0);
        for (start, &(from, _, bytes)) in self.went.iter().enumerate() {
            while end < self.went.len() && self.went[end].0 < from + SECOND {
                sum += count(self.went[end].2);
                end += 1;
            }
            if from + SECOND > 3 * SECOND {
                break;
            }
            assert!(sum <= most, "{sum} in a second from {from}, {:?}", self.limits);
            assert!(sum + one >= least, "{sum} in a second from {from}, {:?}", self.limits);
            assert!(start < end);
            sum -= count(bytes);
        }
    }
}

#[test]
fn a_saturated_group_moves_what_it_may_in_every_second() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let members = 1 + rng.index(16);
        let rate = rng.pick(&[10, 333, 1000, 100_000]);
        let burst = rng.pick(&[0, 1, 50, rate]);
        let run = saturate(limits(&[(Kind::WriteRequests, rate, burst)]), members, &mut rng);
        run.check(|_| 1, Kind::WriteRequests, 1);
        let rate = rng.pick(&[10_000, 1_000_000, 50_000_000]);
        let burst = rng.pick(&[0, 1, rate]);
        let run = saturate(limits(&[(Kind::Bytes, rate, burst)]), members, &mut rng);
        run.check(|bytes| bytes, Kind::Bytes, run.largest);
    }
}

#[test]
fn members_of_a_saturated_group_go_equally_often() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let members = 2 + rng.index(15);
        let kinds = [(Kind::Requests, 1000, 0), (Kind::Bytes, 1_000_000, 0)];
        let run = saturate(limits(&kinds), members, &mut rng);
        let held = run.went.iter().filter(|its| its.0 > 0);
        let mut counts = vec![0u32; members];
        held.for_each(|its| counts[its.1] += 1);
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "seed {seed}: {counts:?}");
    }
}
