//! What a schedule adds up to, and whether the machine's own statistics agree.

use super::ledger::{bit, Checked, Ledger};
use super::scenario::{Plan, Scenario};
use crate::io::Op;
use crate::Stats;

#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub schedules: u64,
    pub requests: u64,
    pub waits: u64,
    /// How many waited at least, and at most.
    pub waits_least: u64,
    pub waits_most: u64,
    /// Requests that a throttle held, and those that entered as batches.
    pub held: u64,
    pub batched: u64,
    /// Reads that shared another's read.
    pub shared_reads: u64,
    /// Writes of which it is not known how many had to share them.
    pub loose: u64,
    pub errors: u64,
    pub shorts: u64,
    pub interrupts: u64,
    /// Scratch that the pool did not give.
    pub denied: u64,
    /// Requests that were taken back; those of them that were with all others; cancels that were
    /// refused; requests that would not wait.
    pub cancelled: u64,
    pub cancelled_together: u64,
    pub cancels_refused: u64,
    pub declined: u64,
    pub failed_requests: u64,
    pub rmw: u64,
    pub merged: u64,
    /// I/Os that stand for several.
    pub joined: u64,
    pub zero_copy: u64,
    pub bounced: u64,
    /// Somebody failed for want of scratch in the step in which another who shares began: who
    /// shares with whom from then on depends on which was first, which is not seen from outside.
    pub unclear: bool,
    /// Zero writes and discards that the storage refused.
    pub refused: u64,
    /// I/Os issued, by queue and kind.
    ios: Vec<[u64; KINDS]>,
    /// By queue.
    pub seen: Vec<Seen>,
}

/// What the machine's statistics have to say about read-modify-writes.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub merged: u64,
    pub rmw: u64,
    pub rmw_reads: u64,
    pub rmw_reads_skipped: u64,
}

impl Seen {
    /// Requests that had no scratch are counted, though nothing is seen of them.
    fn agrees(&self, stats: &Stats, denied: bool) -> bool {
        let told = [stats.merged, stats.rmw, stats.rmw_reads_skipped];
        let seen = [self.merged, self.rmw, self.rmw_reads_skipped];
        let missing = told.iter().zip(seen).any(|(&told, seen)| told < seen);
        stats.rmw_reads == self.rmw_reads && !missing && (denied || told == seen)
    }
}

impl Counts {
    pub fn new(queues: usize) -> Self {
        Counts {
            schedules: 1,
            ios: vec![[0; KINDS]; queues],
            seen: vec![Seen::default(); queues],
            ..Counts::default()
        }
    }

    pub fn issued(&mut self, queue: usize, op: Op) {
        self.ios[queue][kind(op)] = self.ios[queue][kind(op)].wrapping_add(1);
    }

    /// So many that are issued are one with another.
    pub fn not_counted(&mut self, queue: usize, op: Op, extra: u64) {
        self.ios[queue][kind(op)] = self.ios[queue][kind(op)].wrapping_sub(extra);
    }

    pub fn ios(&self) -> u64 {
        self.ios.iter().flatten().sum()
    }

    pub fn add(&mut self, other: &Counts) {
        self.schedules += other.schedules;
        self.requests += other.requests;
        self.waits += other.waits;
        self.held += other.held;
        self.batched += other.batched;
        self.shared_reads += other.shared_reads;
        self.errors += other.errors;
        self.refused += other.refused;
        self.shorts += other.shorts;
        self.interrupts += other.interrupts;
        self.denied += other.denied;
        self.cancelled += other.cancelled;
        self.cancelled_together += other.cancelled_together;
        self.cancels_refused += other.cancels_refused;
        self.declined += other.declined;
        self.failed_requests += other.failed_requests;
        self.rmw += other.rmw;
        self.merged += other.merged;
        self.joined += other.joined;
        self.zero_copy += other.zero_copy;
        self.bounced += other.bounced;
        self.ios.resize(self.ios.len().max(1), [0; KINDS]);
        self.ios[0][0] += other.ios();
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} schedules, {} requests ({} failed), {} I/Os, {} waits, {} read-modify-writes, \
             {} merged, {} joined, {} held, {} in batches, {} reads shared, {} zero-copy, {} bounced, \
             {} cancelled ({} not), {} would not wait; injected: {} refusals, {} errors, \
             {} short, {} interrupted, {} without scratch",
            self.schedules,
            self.requests,
            self.failed_requests,
            self.ios(),
            self.waits,
            self.rmw,
            self.merged,
            self.joined,
            self.held,
            self.batched,
            self.shared_reads,
            self.zero_copy,
            self.bounced,
            self.cancelled,
            self.cancels_refused,
            self.declined,
            self.refused,
            self.errors,
            self.shorts,
            self.interrupts,
            self.denied
        )
    }
}

const KINDS: usize = 6;

fn kind(op: Op) -> usize {
    match op {
        Op::Read => 0,
        Op::Write => 1,
        Op::Flush => 2,
        Op::WriteZeroes => 3,
        Op::Discard => 4,
        Op::Truncate | Op::Length | Op::Fill | Op::Populate | Op::SaveMap => 5,
    }
}

/// Compares the machine's counters, queue by queue, with what was seen.
pub fn check_stats(
    scenario: &Scenario,
    ledger: &Ledger,
    counts: &mut Counts,
    all: impl Iterator<Item = Option<Stats>>,
) -> Checked {
    counts.requests += scenario.plans.len() as u64;
    counts.declined += u64::from(ledger.declined.count_ones());
    for (queue, stats) in all.enumerate() {
        let Some(stats) = stats else { return Ok(()) };
        let mut requests = [0; KINDS];
        let mut bytes = [0; KINDS];
        let (mut failed, mut errors) = (0, 0);
        for (number, plan) in scenario.plans.iter().enumerate() {
            if plan.queue == queue {
                let ok = ledger.succeeded & bit(number) != 0;
                requests[kind(plan.op)] += 1;
                let moves = matches!(plan.op, Op::Read | Op::Write) && ok;
                bytes[kind(plan.op)] += if moves { plan.bytes } else { 0 };
                failed += u64::from(!ok);
                // What was taken back is no error of the storage.
                let cancelled = ledger.entries[number].result == Some(Err(libc::ECANCELED));
                errors += u64::from(!ok && !cancelled);
            }
        }
        let [reads, writes, _, zeroes, ..] = counts.ios[queue];
        let writes = writes + zeroes;
        let told = [stats.reads, stats.writes, stats.flushes, stats.write_zeroes, stats.discards];
        let moved = [stats.bytes_read, stats.bytes_written];
        let storage = [stats.storage_reads, stats.storage_writes];
        let here = |plan: &&Plan| {
            plan.queue == queue && plan.bytes > 0 && matches!(plan.op, Op::Read | Op::Write)
        };
        let moving = scenario.plans.iter().filter(here).count() as u64;
        let copied = stats.zero_copy + stats.bounced;
        let plausible = told == requests[..5]
            && moved == bytes[..2]
            && storage == [reads, writes]
            && stats.errors == errors
            && stats.in_flight == 0
            && copied <= moving
            && copied + failed >= moving
            && stats.rmw <= requests[1] + requests[3]
            && stats.rmw <= stats.rmw_reads + stats.rmw_reads_skipped
            && (stats.rmw_reads <= 2 * stats.rmw || counts.loose > 0)
            && (counts.unclear
                || counts.seen[queue].agrees(&stats, counts.denied + counts.loose > 0))
            && (counts.joined > 0 || stats.rmw_reads <= reads)
            && stats.merged <= requests[1];
        if !plausible {
            return Err(format!(
                "queue {queue}: {stats:?}; seen: {requests:?} requests, {bytes:?} bytes, \
                 {reads} reads, {writes} writes, {errors} errors, {:?}",
                counts.seen[queue]
            ));
        }
        counts.waits += stats.waits;
        counts.rmw += stats.rmw;
        counts.merged += stats.merged;
        counts.zero_copy += stats.zero_copy;
        counts.bounced += stats.bounced;
        counts.failed_requests += failed;
    }
    let Counts { waits, waits_least, waits_most, .. } = *counts;
    if waits < waits_least || waits > waits_most {
        return Err(format!("{waits} waits instead of {waits_least}..={waits_most}"));
    }
    Ok(())
}
