//! Tells the log of requests that do not come back: since when, and what each waits for. The
//! machine knows what; `late.rs` since when.
//!
//! While a program wants warnings and a handle has requests in flight, a job looks every `PERIOD`,
//! on a thread that the pool has anyway. Without such a wish, and without requests, there is none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::answers::words_of;
use super::late::{is_to_be_told, Mark, FIRST, PERIOD};
use super::{Endpoint, Work};
use crate::log::{self, Level};
use crate::sync::atomic::Ordering;
use crate::sync::Instant;
use blkalign_machine::{Asked, Late, Stay};

impl Endpoint {
    /// Called for each request, once it is counted. A look that is the last one says that none is
    /// due, and then looks whether a request is counted; both are SeqCst, so one sees the other.
    pub fn watch_for_late(self: &Arc<Self>) {
        if log::wants(Level::Warning) && !self.late.due.load(Ordering::SeqCst) {
            self.begin_to_watch();
        }
    }

    #[cold]
    fn begin_to_watch(self: &Arc<Self>) {
        if !self.late.due.swap(true, Ordering::SeqCst) {
            self.pool.push_later(FIRST, Work::Watch(Arc::downgrade(self)));
        }
    }
}

/// One look.
pub fn watch(endpoint: &Weak<Endpoint>) {
    let Some(endpoint) = endpoint.upgrade() else { return };
    let late = &endpoint.late;
    if endpoint.completions.is_drained() || !log::wants(Level::Warning) {
        late.marks.lock().clear();
        late.due.store(false, Ordering::SeqCst);
        if endpoint.completions.is_drained() {
            return;
        }
        return endpoint.watch_for_late();
    }
    for (late, waited) in look(&endpoint, Instant::now()) {
        tell(&endpoint, &late, waited);
    }
    endpoint.pool.push_later(PERIOD, Work::Watch(Arc::downgrade(&endpoint)));
}

/// The requests that are to be told of now, and how long each has been in flight.
fn look(endpoint: &Endpoint, now: Instant) -> Vec<(Late, Duration)> {
    let youngest = endpoint.node.last_id();
    let (last, until) = {
        let mut marks = endpoint.late.marks.lock();
        let last = marks.newest();
        marks.add(Mark { when: now, youngest });
        (last, marks.late_at(now))
    };
    let all = until.map_or_else(Vec::new, |mark| endpoint.node.late(endpoint.id(), mark.youngest));
    let since = last.map_or(PERIOD, |mark| now.saturating_duration_since(mark.when));
    let mut marks = endpoint.late.marks.lock();
    marks.forget(all.first().map(|late| late.id), now);
    let waited = |late: Late| (late, marks.waited(late.id, now));
    let mut told: Vec<_> = all.into_iter().map(waited).collect();
    told.retain(|(_, waited)| is_to_be_told(*waited, since));
    told
}

fn tell(endpoint: &Endpoint, late: &Late, waited: Duration) {
    let Some(left_out) = endpoint.late.messages.allows() else { return };
    let name = &endpoint.name;
    if left_out > 0 {
        log::warning!("{name}: {left_out} more requests are late");
    }
    let words = |asked: &Asked| words_of(endpoint, asked.op, asked.offset, asked.bytes);
    let seconds = waited.as_secs();
    let what = words(&late.asked);
    match &late.behind {
        None => {
            let stay = stay(endpoint, late.stay);
            log::warning!("{name}: {what} has not come back for {seconds} s: it {stay}");
        }
        Some(other) => {
            let (other, stay) = (words(other), stay(endpoint, late.stay));
            log::warning!(
                "{name}: {what} has not come back for {seconds} s: it waits for the {other}, \
                 which {stay}"
            );
        }
    }
}

fn stay(endpoint: &Endpoint, stay: Stay) -> String {
    match stay {
        Stay::Plugged => "is held back by blkalign_plug()".to_owned(),
        Stay::Throttled => "is held back by the throttle of its handle".to_owned(),
        Stay::Paused => "is held back by blkalign_pause()".to_owned(),
        Stay::Queued => {
            "waits for others, since queue_depth requests are at the storage".to_owned()
        }
        Stay::Announced => {
            "waits for a notifier, which has not called done (blkalign_add_before_write)".to_owned()
        }
        Stay::Repaired => "waits until larger alignments are found".to_owned(),
        // What the ring has done nobody knows before it is taken in.
        Stay::AtStorage(ios) if endpoint.is_polled() => {
            format!("is at the storage ({ios} I/O at once), or waits for blkalign_poll()")
        }
        Stay::AtStorage(ios) => format!("is at the storage ({ios} I/O at once)"),
    }
}
