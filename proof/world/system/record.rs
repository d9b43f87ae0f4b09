//! What the simulated disk did, taken down for a loss of power at any moment.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::pieces::read_memory;
use crate::driver::Segment;
use crate::proof::power::deed::{Deed, Event};

#[derive(Default)]
pub struct Record {
    clock: AtomicU64,
    /// In the order of their ends.
    events: Mutex<Vec<Event>>,
}

impl Record {
    /// The next moment. The program's events take theirs from here, too.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// It has just ended.
    pub fn add(&self, begin: u64, deed: Deed) {
        let end = Some(self.tick());
        self.events.lock().push(Event { deed, begin, end, length: 0 });
    }

    /// What was known of it at a moment.
    pub fn at(&self, moment: u64) -> Vec<Event> {
        let mut events = self.events.lock().clone();
        events.retain(|event| event.begin <= moment);
        let is_over = |event: &Event| event.end.is_some_and(|end| end <= moment);
        // What is not over comes last.
        events.sort_by_key(|event| !is_over(event));
        for event in events.iter_mut().filter(|event| !is_over(event)) {
            event.end = None;
        }
        events
    }
}

/// The first `bytes` bytes that the segments name.
pub fn gather(segments: &[Segment], bytes: u64) -> Vec<u8> {
    let mut data: Vec<u8> = segments.iter().flat_map(|&segment| read_memory(segment)).collect();
    data.truncate(bytes as usize);
    data
}
