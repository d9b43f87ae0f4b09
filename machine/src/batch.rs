//! Batches: what is submitted between `plug` and `unplug` is held back and then enters at once, so
//! that requests of one block find each other before the first of them starts.
//!
//! A plug has a key, and holds back what is submitted with the same key. The machine knows nothing
//! of threads; its caller has a key for each thread.
//!
//! Example, with blocks of 4096: a batch of reads of [0, 512), [4096, 4608) and [512, 1024). The
//! third is a member of the first before any of them enters, so two I/Os go out, not three.

use std::collections::HashMap;

use crate::entering::Entering;
use crate::extent::Extent;
use crate::io::{Op, Slot};
use crate::isolation::Isolation;
use crate::leaving::Leaving;
use crate::merge::{partial_block, MEMBERS_MAX};
use crate::short_way::{Passage, ShortWay};
use crate::table::{Entry, Phase, Table};
use crate::{QueueId, ScratchPool};

/// The first read of each block, while a batch is looked through. Empty else: it is kept to spare
/// allocations.
#[derive(Debug, Default)]
pub struct ReadLeaders(HashMap<u64, Slot>);

/// Enters batches.
pub struct Batching<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
    pub isolation: &'a mut Isolation,
    pub extent: &'a mut Extent,
    pub leaders: &'a mut ReadLeaders,
}

impl<Q: Clone, T, S: ScratchPool> Batching<'_, Q, T, S> {
    /// What was plugged enters. Nothing of it starts yet, but for common requests: these share no
    /// I/O with others, and no other has to wait for them that would not wait if they were queued.
    pub fn enter(&mut self, batch: &[Slot]) {
        self.share_reads(batch);
        for &slot in batch {
            if self.table.known(slot).phase == Phase::Plugged {
                let alone = self.table.known(slot).members.is_empty();
                let Batching { table, isolation, extent, .. } = self;
                if !alone || (ShortWay { table, isolation, extent }).start(slot) == Passage::NotOpen
                {
                    Leaving { table, isolation, extent }.admit_or_refuse(slot);
                }
            }
        }
    }

    /// What can start of the batch has started; its list is kept for the next plug.
    pub fn end(&mut self, queue: QueueId, mut batch: Vec<Slot>) {
        // Requests that a leader of this batch took in did not wait.
        let waits =
            |slot: &&Slot| self.table.get(**slot).is_some_and(|it| it.phase == Phase::Waiting);
        let waits = batch.iter().filter(waits).count() as u64;
        let home = self.table.queue(queue);
        home.stats.waits += waits;
        batch.clear();
        home.spare_plugged = batch;
    }

    /// Whether a read touches nothing that is absent of an overlay.
    fn is_there(&self, read: &Entry<T>) -> bool {
        let clusters = self.table.overlay.as_ref().filter(|_| self.table.is_unsettled());
        clusters.is_none_or(|clusters| clusters.is_there(read.request.offset, read.end()))
    }

    fn entering(&mut self) -> Entering<'_, Q, T, S> {
        Entering { table: self.table, isolation: self.isolation, extent: self.extent }
    }

    /// Lets the reads of a batch share I/O: those in one block follow the first of them.
    /// Reads share no I/O while a request keeps readers out: a read that came after such a request
    /// must not go out with one that came before it.
    fn share_reads(&mut self, batch: &[Slot]) {
        let is_read = |&slot: &Slot| self.table.known(slot).request.op == Op::Read;
        if !batch.iter().any(is_read) || self.entering().keeps_readers_out(batch) {
            return;
        }
        for &slot in batch {
            let entry = self.table.known(slot);
            let config = self.table.config_of(slot);
            let whole = entry.end() <= self.extent.floor && self.is_there(entry);
            if entry.request.op != Op::Read || entry.request.guest_block > 0 || !whole {
                continue;
            }
            let Some(block) = partial_block(entry, config) else { continue };
            let leader = *self.leaders.0.entry(block).or_insert(slot);
            let joins = leader != slot && self.table.entry(leader).members.len() < MEMBERS_MAX;
            if joins {
                let member = self.table.entry(slot);
                (member.phase, member.leader) = (Phase::Member, leader);
                self.table.entry(leader).members.push(slot);
            }
        }
        self.leaders.0.clear();
    }
}
