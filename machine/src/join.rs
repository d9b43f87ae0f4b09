//! I/Os of one batch that lie side by side go out as one. The joined I/O keeps its parts as they
//! were. If it moves all its bytes, each part has moved all of its own. If not, each part goes out
//! again by itself, so that a short result or an error is that of one part.
//!
//! Only the I/Os of sub-block writes are joined, edge reads as well as writes. To join others gains
//! nothing: the kernel does that by itself where it helps.

use crate::io::{Io, Lane, Op, Segment};
use crate::table::Table;
use crate::{Action, ScratchPool};

/// Most bytes in a joined I/O; two blocks are never too many. The number is small so that a batch
/// stays several I/Os, and the storage is busy with one while another comes or goes
/// (docs/PERFORMANCE.md).
const JOINED_BYTES_MAX: u64 = 8 << 10;

/// Joins I/Os that are among the actions.
pub struct Joining<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

impl<Q: Clone, T, S: ScratchPool> Joining<'_, Q, T, S> {
    /// Joins what can be joined among the actions from `first` on.
    pub fn join(&mut self, first: usize) {
        let io = |action: &&Action<Q, T>| matches!(action, Action::Io(..));
        if self.table.actions[first..].iter().filter(io).count() < 2 {
            return;
        }
        let mut whole: Option<(Q, Io)> = None;
        let tail: Vec<_> = self.table.actions.drain(first..).collect();
        for action in tail {
            match (action, &mut whole) {
                (Action::Io(_, io), Some((_, whole))) if self.may_join(whole, &io) => {
                    self.count_joined(&io);
                    append(whole, io);
                }
                (Action::Io(queue, io), whole) => {
                    let before = whole.replace((queue, io));
                    self.put(before);
                }
                (complete, _) => self.table.actions.push(complete),
            }
        }
        self.put(whole);
    }

    fn put(&mut self, io: Option<(Q, Io)>) {
        self.table.actions.extend(io.map(|(queue, io)| Action::Io(queue, io)));
    }

    /// Whether `next` can go out as one with `whole`, right behind it.
    fn may_join(&self, whole: &Io, next: &Io) -> bool {
        let queue = |io: &Io| self.table.known(io.id.slot).queue;
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
        let config = self.table.config_of(whole.id.slot);
        let bytes_max = JOINED_BYTES_MAX.max(2 * config.alignments.request);
        alike
            && self.is_of_sub_block_write(whole)
            && self.is_of_sub_block_write(next)
            && whole.bytes + next.bytes <= config.max_transfer.min(bytes_max)
            && whole.segments.len() + next.segments.len() <= config.max_segments
    }

    /// The read of an edge, or a write with bytes that are copied.
    fn is_of_sub_block_write(&self, io: &Io) -> bool {
        let entry = self.table.known(io.id.slot);
        entry.request.op == Op::Write && (io.op == Op::Read || !io.copies.is_empty())
    }

    fn count_joined(&mut self, io: &Io) {
        let stats = &mut self.table.home(io.id.slot).stats;
        match io.op {
            Op::Read => stats.storage_reads -= 1,
            Op::Write => stats.storage_writes -= 1,
            _ => {}
        }
    }

    /// The parts of a joined I/O that failed, or came back short, go out again, each by itself.
    pub fn part(&mut self, parts: Vec<Io>) {
        for mut part in parts {
            // Else the parts would be joined again, and fail again, for ever.
            part.alone = true;
            let queue = self.table.known(part.id.slot).queue;
            self.table.reissue(queue, part);
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
mod tests;
