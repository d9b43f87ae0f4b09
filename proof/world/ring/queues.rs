//! The program's ends of a simulated ring's queues.

use io_uring::squeue::Entry;

use super::{Completion, IoUring, Raw};
use crate::sync::atomic::Ordering;

/// The program's end of the queue.
pub struct SubmissionQueue<'a> {
    ring: &'a IoUring,
    /// How many the kernel was seen to have taken.
    seen: u64,
    before: u64,
    entries: Vec<Raw>,
}

impl SubmissionQueue<'_> {
    pub(super) fn new(ring: &IoUring) -> SubmissionQueue<'_> {
        let seen = ring.shared.taken.load_here(Ordering::Acquire);
        // A thread that holds the lock of this end sees all of it.
        let before = ring.shared.put.load_here(Ordering::Relaxed);
        SubmissionQueue { ring, seen, before, entries: Vec::new() }
    }

    pub fn len(&self) -> usize {
        (self.before - self.seen) as usize + self.entries.len()
    }

    pub fn taskrun(&self) -> bool {
        !self.ring.shared.state.lock().task_work.is_empty()
    }

    /// # Safety
    /// As the real one's: what the entry points to stays until its completion.
    pub unsafe fn push(&mut self, entry: &Entry) -> Result<(), Full> {
        if self.len() == self.ring.params.0 as usize {
            return Err(Full);
        }
        // SAFETY: both are 64 bytes of integers; see `Raw`.
        let raw = unsafe { std::ptr::from_ref(entry).cast::<Raw>().read_unaligned() };
        self.entries.push(raw);
        Ok(())
    }
}

/// As the real one has: what was put in is the kernel's from here on.
impl Drop for SubmissionQueue<'_> {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            let put = self.before + self.entries.len() as u64;
            self.ring.shared.state.lock().submission.extend(self.entries.drain(..));
            self.ring.shared.put.store_here(put, Ordering::Release);
        }
    }
}

#[derive(Debug)]
pub struct Full;

/// With how many completions the kernel was seen to have posted.
pub struct CompletionQueue<'a>(&'a IoUring, u64);

impl CompletionQueue<'_> {
    pub(super) fn new(ring: &IoUring) -> CompletionQueue<'_> {
        CompletionQueue(ring, ring.shared.posted.load_here(Ordering::Acquire))
    }

    pub fn is_empty(&self) -> bool {
        self.0.shared.state.lock().reaped == self.1
    }
}

/// As the real one has: what was taken is the kernel's from here on.
impl Drop for CompletionQueue<'_> {
    fn drop(&mut self) {}
}

impl Iterator for CompletionQueue<'_> {
    type Item = Completion;
    fn next(&mut self) -> Option<Completion> {
        let mut state = self.0.shared.state.lock();
        if state.reaped == self.1 {
            return None;
        }
        state.reaped += 1;
        state.completion.pop_front()
    }
}
