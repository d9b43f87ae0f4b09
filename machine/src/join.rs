//! I/Os of one batch that lie side by side go out as one. The parts stay as they are inside it: if
//! it moves all its bytes each of them did, and if not, each goes out again by itself, so that
//! short results and errors are those of the part that they belong to.
//!
//! Only the I/Os of sub-block writes are joined, edge reads as well as writes. Others gain nothing:
//! the kernel joins them by itself where that helps.

use super::machine::Machine;
use super::{Action, ScratchPool};
use crate::io::{Io, Lane, Op, Segment};

/// Most bytes in a joined I/O, and two blocks at least. Few: a batch is to stay several I/Os, so
/// that the storage is busy with one while another comes or goes (docs/PERFORMANCE.md).
const JOINED_BYTES_MAX: u64 = 8 << 10;

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// Joins what can be joined among the actions from `first` on.
    pub fn join(&mut self, first: usize, actions: &mut Vec<Action<Q, T>>) {
        let io = |action: &&Action<Q, T>| matches!(action, Action::Io(..));
        if actions[first..].iter().filter(io).count() < 2 {
            return;
        }
        let mut whole: Option<(Q, Io)> = None;
        let tail: Vec<_> = actions.drain(first..).collect();
        for action in tail {
            match (action, &mut whole) {
                (Action::Io(_, io), Some((_, whole))) if self.may_join(whole, &io) => {
                    self.count_joined(&io);
                    append(whole, io);
                }
                (Action::Io(queue, io), whole) => {
                    let before = whole.replace((queue, io));
                    actions.extend(before.map(|(queue, io)| Action::Io(queue, io)));
                }
                (complete, _) => actions.push(complete),
            }
        }
        actions.extend(whole.map(|(queue, io)| Action::Io(queue, io)));
    }

    /// Whether `next` can go out as one with `whole`, right behind it.
    fn may_join(&self, whole: &Io, next: &Io) -> bool {
        let queue = |io: &Io| self.entries[io.id.slot as usize].as_ref().map(|entry| entry.queue);
        let alike = whole.op == next.op
            && whole.op != Op::Flush
            && !whole.alone
            && !next.alone
            && whole.lane == Lane::Main
            && next.lane == Lane::Main
            && whole.fua == next.fua
            && !whole.atomic
            && !next.atomic
            && whole.offset + whole.bytes == next.offset
            && queue(whole) == queue(next);
        let config = self.config_of(whole.id.slot);
        let bytes_max = JOINED_BYTES_MAX.max(2 * config.alignments.request);
        alike
            && self.is_of_sub_block_write(whole)
            && self.is_of_sub_block_write(next)
            && whole.bytes + next.bytes <= config.max_transfer.min(bytes_max)
            && whole.segments.len() + next.segments.len() <= config.max_segments
    }

    /// The read of an edge, or a write with bytes that are copied.
    fn is_of_sub_block_write(&self, io: &Io) -> bool {
        let entry = self.entries[io.id.slot as usize].as_ref().expect("a request in flight");
        entry.request.op == Op::Write && (io.op == Op::Read || !io.copies.is_empty())
    }

    fn count_joined(&mut self, io: &Io) {
        let queue = self.entry(io.id.slot).queue;
        let stats = &mut self.queue(queue).stats;
        match io.op {
            Op::Read => stats.storage_reads -= 1,
            Op::Write => stats.storage_writes -= 1,
            _ => {}
        }
    }

    /// A joined I/O is over.
    pub(super) fn joined_done(
        &mut self,
        mut io: Io,
        result: Result<u64, i32>,
        actions: &mut Vec<Action<Q, T>>,
    ) {
        let first = actions.len();
        let parts = std::mem::take(&mut io.joined);
        if result == Ok(io.bytes) {
            // Nobody starts before all of them are over, as if they had been one.
            for part in parts {
                self.part_done(&part, None);
                self.go_on(part.id.slot, actions);
            }
            self.run(actions);
            return self.join(first, actions);
        }
        for mut part in parts {
            // Or they would go out as one again, and fail again, for ever.
            part.alone = true;
            let queue = self.entry(part.id.slot).queue;
            self.reissue(queue, part, actions);
        }
    }
}

/// `next` may be joined already, by an earlier step of the same load of results: its parts become
/// those of the whole.
fn append(whole: &mut Io, mut next: Io) {
    if whole.joined.is_empty() {
        whole.joined.push(whole.clone());
    }
    for &Segment { address, bytes } in &next.segments {
        match whole.segments.last_mut() {
            Some(last) if last.address + last.bytes == address => last.bytes += bytes,
            _ => whole.segments.push(Segment { address, bytes }),
        }
    }
    whole.copies.extend_from_slice(&next.copies);
    whole.bytes += next.bytes;
    match next.joined.is_empty() {
        true => whole.joined.push(next),
        false => whole.joined.append(&mut next.joined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::IoId;

    fn write(slot: u32, offset: u64) -> Io {
        let segment = Segment { address: 1 << 20 | offset as usize, bytes: 512 };
        let id = IoId { slot, part: 0 };
        Io {
            bytes: 512,
            segments: [segment].into_iter().collect(),
            ..Io::new(id, Op::Write, offset)
        }
    }

    /// As after a load of results of which one was joined: what follows on that one is joined
    /// first, then with what follows on the others.
    #[test]
    fn joined_ios_that_are_joined_once_more_leave_none_of_their_parts_out() {
        let (mut first, mut second) = (write(0, 0), write(2, 1024));
        append(&mut first, write(1, 512));
        append(&mut second, write(3, 1536));
        append(&mut first, second);
        let slots: Vec<u32> = first.joined.iter().map(|part| part.id.slot).collect();
        assert_eq!(slots, [0, 1, 2, 3]);
        assert!(first.joined.iter().all(|part| part.joined.is_empty() && part.bytes == 512));
        assert_eq!(first.bytes, 2048);
    }
}
