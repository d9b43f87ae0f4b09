//! Who shares an I/O: who may, and who must. Writes that stand in line for one block when the first
//! of them begins are one write, and none reads the block if together they cover it. Reads of one
//! block that entered together are one read; no others are.

use super::ledger::{bit, members, Checked, Set};
use super::scenario::Plan;
use super::subject::Subject;
use super::world::World;
use crate::io::{Io, Op};

impl<S: Subject> World<'_, S> {
    /// Whether two requests may share one I/O.
    pub(super) fn may_share(&self, a: usize, b: usize) -> bool {
        let (first, second) = (&self.scenario.plans[a], &self.scenario.plans[b]);
        let config = &self.scenario.config[first.queue];
        let block = first.part_of_block(config);
        let reads = (first.op, second.op) == (Op::Read, Op::Read)
            && first.queue == second.queue
            && block.is_some()
            && block == second.part_of_block(config);
        let share = |number: usize| self.ledger.entries[number].shares;
        let reads = reads && share(a) && share(b);
        (reads && self.mates(a) & bit(b) != 0) || self.may_merge(a, b)
    }

    pub(super) fn may_merge(&self, a: usize, b: usize) -> bool {
        let shaped = |number: usize| self.ledger.entries[number].shape.is_some();
        let here = |number: usize| {
            let plan = &self.scenario.plans[number];
            plan.offset + plan.bytes <= self.ledger.length
        };
        self.scenario.may_merge(a, b) && !shaped(a) && !shaped(b) && here(a) && here(b)
    }

    /// The I/O of `leader` is shared by those that have to share it, by no others, and stays so.
    pub(super) fn check_sharing(&mut self, io: &Io, leader: usize, sharers: Set) -> Checked {
        let plan = &self.scenario.plans[leader];
        if let Some((_, before)) = self.ended.iter().copied().find(|(id, _)| *id == io.id) {
            return match before == sharers {
                true => Ok(()),
                false => Err(format!("others join an I/O that goes on: {io:x?}")),
            };
        }
        let edge = plan.op != Op::Read && io.op == Op::Read;
        let seen = &mut self.counts.seen[plan.queue];
        seen.rmw_reads += u64::from(edge);
        let shaped = self.ledger.entries[leader].shape.is_some();
        // What it reads to keep zeros behind the end zero is not counted.
        self.counts.loose += u64::from(shaped);
        if edge && !shaped && plan.op != Op::Write && self.ledger.entries[leader].line.is_none() {
            self.ledger.entries[leader].line = Some(0);
            seen.rmw += 1;
        }
        if !S::SHARES {
            return Ok(());
        }
        let fua = members(sharers).any(|number| self.scenario.plans[number].flags.fua);
        if io.fua != (fua && matches!(io.op, Op::Write | Op::WriteZeroes)) {
            return Err(format!("FUA without being asked, or not as asked: {io:x?}"));
        }
        let expected = match plan.op {
            Op::Write => self.line_of(leader, edge)?,
            Op::Read => self.read_mates(leader),
            _ => 0,
        };
        if plan.op == Op::Read {
            self.counts.shared_reads += u64::from(expected.count_ones());
        }
        let expected = bit(leader) | if edge { 0 } else { expected };
        let loose = self.ledger.entries[leader].loose && sharers & !expected == 0;
        match expected == sharers || loose || self.counts.unclear {
            true => Ok(()),
            false => {
                let list = |set| members(set).collect::<Vec<_>>();
                let (is, ought) = (list(sharers), list(expected));
                Err(format!("shared by {is:?} instead of {ought:?}: {io:x?}"))
            }
        }
    }

    fn read_mates(&self, leader: usize) -> Set {
        members(self.mates(leader))
            .filter(|&other| self.may_share(leader, other))
            .fold(0, |set, other| set | bit(other))
    }

    /// Who has to share the write of `leader`; decided, and counted, at its first I/O.
    fn line_of(&mut self, leader: usize, edge: bool) -> Checked<Set> {
        if let Some(line) = self.ledger.entries[leader].line {
            return Ok(line);
        }
        if self.ledger.entries[leader].shape.is_some() {
            return Ok(0);
        }
        let plan = &self.scenario.plans[leader];
        let config = &self.scenario.config[plan.queue];
        let block = plan.part_of_block(config).filter(|_| !config.no_merge);
        let line = block.map_or(0, |_| self.line(leader));
        self.counts.unclear |= block.is_some() && self.one_failed_just_now();
        self.ledger.entries[leader].line = Some(line);
        if self.is_loose(line) {
            self.ledger.entries[leader].loose = true;
            self.counts.loose += 1;
            return Ok(line);
        }
        let covered = block
            .is_some_and(|block| self.covers(bit(leader) | line, block, config.alignments.request));
        if covered && edge && !self.counts.unclear {
            return Err(format!("write {leader} reads a block that it and its line cover"));
        }
        let has_edges = plan.edges.iter().any(Option::is_some);
        // Each counts for the queue that it came by.
        for number in members(bit(leader) | line) {
            let seen = &mut self.counts.seen[self.scenario.plans[number].queue];
            seen.merged += u64::from(number != leader);
            seen.rmw += u64::from(has_edges && !covered);
            // A write that reads nothing first has its block from the write before.
            let reads = number == leader && edge;
            seen.rmw_reads_skipped += u64::from(covered || (has_edges && !reads));
        }
        Ok(line)
    }

    /// A request that one of `line` waited for, for the sake of a guest block, has just ended
    /// without any I/O: perhaps after the line was formed, so the line may have become shorter.
    fn is_loose(&self, line: Set) -> bool {
        let silent = |&number: &usize| !self.ledger.entries[number].touched;
        let gone = self.gone.iter().copied().filter(silent).fold(0, |set, n| set | bit(n));
        members(line).any(|number| self.ledger.entries[number].blockers & gone != 0)
    }

    /// The writes that wait for `leader`, or for another of these, and for no others.
    fn line(&self, leader: usize) -> Set {
        let entered = |number: usize| self.ledger.entries[number].admitted.map(|a| a.at);
        let waits = |&other: &usize| {
            other != leader
                && Some(other) != self.latecomer
                && entered(other) > entered(leader)
                && self.ledger.conflict_among_writes(self.scenario, leader, other)
        };
        let mut behind: Vec<usize> = members(self.ledger.in_flight).filter(waits).collect();
        behind.sort_unstable_by_key(|&other| entered(other));
        let merges = |other: &usize| self.may_merge(leader, *other) && !self.is_kept_apart(*other);
        behind.into_iter().take_while(merges).fold(0, |set, other| set | bit(other))
    }

    fn covers(&self, writes: Set, block: u64, bytes: u64) -> bool {
        let covers = |offset| {
            let plan = |number: usize| -> &Plan { &self.scenario.plans[number] };
            members(writes).any(|number| plan(number).covers(offset))
        };
        (block..block + bytes).all(covers)
    }
}
