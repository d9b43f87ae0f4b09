//! Every pair of requests over two blocks, with a notifier that is there, comes or goes, in every
//! order of events.

use super::super::exhaustive::{config, shapes, Shape, LENGTH};
use super::super::path::Path;
use super::desk::{Desk, End};
use crate::io::Op;
use crate::{Alignments, QueueConfig, RequestFlags};

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Event {
    Submit,
    Add,
    Remove,
    Finish(usize),
    Answer(usize, Result<(), i32>),
}

struct Walk {
    unit: u64,
    /// Whether the notifier comes after the first request, and goes at any moment.
    comes_and_goes: bool,
    serialising: bool,
}

fn run(requests: &[Shape], walk: &Walk, path: &mut Path) {
    // Blocks of 2, in an object that is longer than what the requests name.
    let config = QueueConfig {
        alignments: Alignments { request: 2, memory: 1, segment: 1 },
        unmap: true,
        ..config(2, 2)
    };
    let mut desk = Desk::new(&[config], 1);
    let mut notifier = None;
    if !walk.comes_and_goes {
        notifier = Some(desk.add(walk.unit));
    }
    let (mut next, mut removed) = (0, false);
    loop {
        let mut events = Vec::new();
        if next < requests.len() {
            events.push(Event::Submit);
        }
        if walk.comes_and_goes && notifier.is_none() {
            events.push(Event::Add);
        }
        if walk.comes_and_goes && notifier.is_some() && !removed {
            events.push(Event::Remove);
        }
        events.extend((0..desk.flights.len()).map(Event::Finish));
        for question in desk.open_questions() {
            events.extend([Ok(()), Err(libc::EIO)].map(|it| Event::Answer(question, it)));
        }
        if events.is_empty() {
            return desk.conclude();
        }
        match events[path.choose(events.len())] {
            Event::Submit => {
                let (_, op, start, end) = requests[next];
                let mut request = desk.request(op, start, end - start);
                let serialising = walk.serialising && next == 0;
                request.flags = RequestFlags { serialising, ..RequestFlags::default() };
                desk.submit(0, request);
                next += 1;
            }
            Event::Add => notifier = Some(desk.add(walk.unit)),
            Event::Remove => {
                desk.remove(notifier.expect("added"));
                removed = true;
            }
            Event::Finish(index) => desk.finish(index, End::Full),
            Event::Answer(question, result) => desk.answer(question, result),
        }
    }
}

fn walk_all(requests: &[Shape], walk: &Walk) -> u64 {
    let mut path = Path::default();
    let mut paths = 0;
    loop {
        let run = std::panic::AssertUnwindSafe(|| run(requests, walk, &mut path));
        if let Err(why) = std::panic::catch_unwind(run) {
            eprintln!("{requests:?}, unit {}", walk.unit);
            std::panic::resume_unwind(why);
        }
        paths += 1;
        if !path.advance() {
            return paths;
        }
    }
}

#[test]
fn pairs_with_a_notifier() {
    let all = shapes(0, &[Op::Read, Op::Write, Op::WriteZeroes, Op::Discard]);
    assert!(all.iter().all(|&(.., end)| end <= LENGTH));
    let mut paths = 0;
    for &first in &all {
        for &second in all.iter().filter(|shape| shape.1 == Op::Write || shape.1 == Op::Read) {
            for unit in [1, 4] {
                let walk = Walk { unit, comes_and_goes: false, serialising: unit == 4 };
                paths += walk_all(&[first, second], &walk);
            }
            let walk = Walk { unit: 2, comes_and_goes: true, serialising: false };
            paths += walk_all(&[first, second], &walk);
        }
    }
    eprintln!("simulator: pairs with a notifier: {paths} paths");
    assert!(paths > 10_000);
}
