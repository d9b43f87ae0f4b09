use super::*;

impl<J> Shares<J> {
    /// How many jobs wait or hold a place.
    pub fn load(&self) -> usize {
        self.taken + self.owners.values().map(|its| its.waiting.len()).sum::<usize>()
    }
}

fn begun(shares: &mut Shares<(usize, usize)>, owner: usize) -> Vec<usize> {
    let jobs: Vec<_> = std::iter::from_fn(|| shares.begin()).collect();
    assert!(jobs.iter().all(|&(its, _)| its == owner), "{jobs:?}");
    jobs.into_iter().map(|(_, number)| number).collect()
}

fn push(shares: &mut Shares<(usize, usize)>, owner: usize, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| shares.push(owner, (owner, number)));
}

#[test]
fn one_owner_takes_nearly_all_and_each_other_one_at_least() {
    let mut shares = Shares::new(64, true);
    push(&mut shares, 1, 0..1000);
    assert_eq!(begun(&mut shares, 1), (0..56).collect::<Vec<_>>());
    push(&mut shares, 2, 0..1000);
    assert_eq!(begun(&mut shares, 2), (0..7).collect::<Vec<_>>());
    for owner in 3..200 {
        push(&mut shares, owner, 0..9);
        assert_eq!(begun(&mut shares, owner), [0], "it is never left without");
    }
    for round in 1..9 {
        for owner in 3..200 {
            assert_eq!(shares.end(owner), 1);
            assert_eq!(begun(&mut shares, owner), [round], "in order");
        }
    }
    // What hangs leaves what the others have given back alone.
    (3..200).for_each(|owner| assert_eq!(shares.end(owner), 0));
    assert_eq!(shares.owners.len(), 2, "of the others nothing is kept");
}

#[test]
fn places_that_come_free_go_to_those_with_few() {
    let mut shares = Shares::new(64, true);
    push(&mut shares, 1, 0..100);
    push(&mut shares, 2, 0..100);
    begun_any(&mut shares);
    // The first gives back all but a few of its own, one by one: the second gets them.
    for _ in 0..40 {
        shares.end(1);
    }
    begun_any(&mut shares);
    let (first, second) = (shares.owners[&1].taken, shares.owners[&2].taken);
    assert!(second > 20, "{first} and {second}");
    assert!(shares.taken <= 64);
}

fn begun_any(shares: &mut Shares<(usize, usize)>) {
    while shares.begin().is_some() {}
}

#[test]
fn a_pool_of_one_handle_gives_all_its_places() {
    for places in [1, 4, 16] {
        let mut shares = Shares::new(places, false);
        push(&mut shares, 1, 0..100);
        assert_eq!(begun(&mut shares, 1).len(), places);
        assert_eq!(shares.try_begin(1), Admission::NoRoom);
        (0..100).for_each(|_| {
            shares.end(1);
            begun(&mut shares, 1);
        });
        assert_eq!((shares.taken, shares.owners.len()), (0, 0));
    }
}

/// Any order of pushes and ends: no job is lost, none waits while its owner has nothing, and
/// none while places are free that it may have.
#[test]
fn nobody_waits_without_reason() {
    for seed in 0..200 {
        let mut random = fastrand_of(seed);
        let mut shares = Shares::new(1 + random(20), true);
        let (mut running, mut pushed, mut ended) = (Vec::new(), 0, 0);
        for _ in 0..2000 {
            let owner = random(7);
            match random(9) {
                0..=4 => {
                    shares.push(owner, (owner, pushed));
                    pushed += 1;
                }
                5 if shares.try_begin(owner) == Admission::Begun => {
                    running.push(owner);
                    pushed += 1;
                }
                _ if !running.is_empty() => {
                    let owner = running.swap_remove(random(running.len()));
                    shares.end(owner);
                    ended += 1;
                }
                _ => {}
            }
            running.extend(std::iter::from_fn(|| shares.begin()).map(|(owner, _)| owner));
            let waiting: usize = shares.owners.values().map(|its| its.waiting.len()).sum();
            assert_eq!(pushed, ended + running.len() + waiting);
            assert_eq!(shares.taken, running.len());
            for its in shares.owners.values().filter(|its| !its.waiting.is_empty()) {
                let room = has_room(shares.places, true, shares.taken, its.taken);
                assert!(!room && its.in_turn);
            }
        }
    }
}

fn fastrand_of(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed + 1;
    move |bound| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    }
}
