//! What must hold with notifiers.

use super::super::memory::{initial, written, Label, GONE, ZERO};
use super::super::subject::is_idle;
use super::desk::{Desk, Notifier, Question, Sent, CAPACITY, LENGTH};
use crate::announce::is_change;
use crate::io::{Io, Op, Slot};
use crate::{Announcement, NotifierId, Request, RequestId};

fn overlap(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

fn range(what: &Announcement) -> (u64, u64) {
    (what.offset, what.offset + what.bytes)
}

impl Desk {
    /// What a request changes, as things stand.
    fn changed(&self, number: usize) -> (u64, u64) {
        let Request { op, offset, bytes, .. } = self.sent[number].request;
        let length = self.machine.length();
        match op {
            Op::Truncate => (offset.min(length), offset.max(length)),
            _ => (offset, offset + bytes),
        }
    }

    /// A question comes: to a notifier that is there, rounded as it should be, and of nothing that
    /// another question is about.
    pub fn take_question(&mut self, queue: usize, what: Announcement) {
        self.say(&|| format!("  question {}: {what:?}", self.questions.len()));
        let number = self.number_of(what.request);
        let Sent { ref request, queue: its, .. } = self.sent[number];
        assert_eq!((queue as u32, what.op), (its, request.op));
        let entry = self.machine.table.in_flight().find(|(_, entry)| entry.id == what.request);
        assert!(entry.is_some_and(|(_, entry)| is_change(entry)), "{what:?}");
        let (start, end) = self.changed(number);
        let told = range(&what);
        assert!(told.0 <= start && end <= told.1 && start < end, "{what:?} is too small");
        let Some(notifier) = self.notifiers.iter().find(|its| its.id == what.notifier) else {
            panic!("{what:?} to nobody");
        };
        assert!(!notifier.removed, "{what:?} to one that is removed");
        let unit = notifier.unit;
        let most = self.machine.length().max(end);
        assert!(told.0.is_multiple_of(unit) && start - told.0 < unit + self.block_of(number));
        assert!(told.1.is_multiple_of(unit) || told.1 == most, "{what:?} is too large");
        assert!(told.1 - end < unit + self.block_of(number) && told.1 <= most);
        for other in self.open_questions() {
            let other = &self.questions[other].what;
            assert!(!overlap(range(other), told), "{what:?} beside {other:?}");
        }
        for question in &self.questions {
            let before = &question.what;
            let same = (before.request, before.notifier) == (what.request, what.notifier);
            assert!(!same, "{what:?} is asked twice");
        }
        self.questions.push(Question { what, asked: self.now, answered: None });
        let question = self.questions.len() - 1;
        self.check_point_in_time(question);
    }

    /// Members that wait in the same block may be announced, too.
    fn block_of(&self, number: usize) -> u64 {
        let queue = self.sent[number].queue;
        match self.sent[number].request.op {
            Op::Write => self.machine.table.known_queue(queue).config.alignments.request,
            _ => 0,
        }
    }

    /// What a notifier is told of for the first time is what it was when the notifier was added.
    pub fn check_point_in_time(&mut self, question: usize) {
        let what = self.questions[question].what;
        let open =
            self.questions[question].answered.is_none() && question + 1 < self.questions.len();
        let disk = &self.disk;
        let notifier = self.notifiers.iter_mut().find(|its| its.id == what.notifier);
        let notifier = notifier.expect("known");
        let (unit, (start, end)) = (notifier.unit, range(&what));
        let units = start / unit..end.div_ceil(unit);
        let Some(snapshot) = &notifier.snapshot else {
            return notifier.units.extend(units);
        };
        for number in units {
            if notifier.units.insert(number) || open && !notifier.units.contains(&number) {
                let end = ((number + 1) * unit).min(LENGTH) as usize;
                for at in (number * unit) as usize..end {
                    assert_eq!(disk[at], snapshot[at], "byte {at} has changed before {what:?}");
                }
            }
        }
    }

    /// The notifier is added: nothing is at the storage that it was not told of.
    pub fn note_added(&mut self, id: NotifierId) {
        self.say(&|| format!("  notifier {id} is added"));
        let disk = self.disk.clone();
        let notifier = self.notifiers.iter_mut().find(|its| its.id == id).expect("known");
        assert!(notifier.snapshot.is_none() && !notifier.removed);
        notifier.snapshot = Some(disk);
        let ios: Vec<Io> = self.flights.iter().map(|flight| flight.io.clone()).collect();
        ios.iter().for_each(|io| self.check_io(io));
    }

    /// Who shares an I/O: the leader's number first.
    fn sharers(&self, slot: Slot) -> Vec<usize> {
        let Some(entry) = self.machine.table.get(slot) else { return Vec::new() };
        let id = |&slot: &Slot| self.machine.table.known(slot).id;
        let ids = std::iter::once(entry.id).chain(entry.members.iter().map(id));
        ids.map(|id| self.number_of(id)).collect()
    }

    /// Whether this notifier knows of a request and lets it pass, and since when.
    fn known_since(&self, notifier: NotifierId, number: usize) -> Option<u64> {
        let changed = self.changed(number);
        let speaks = |id: RequestId| self.sent[number].speakers.contains(&id);
        let covers = |question: &&Question| {
            let told = range(&question.what);
            let all = told.0 <= changed.0 && changed.1 <= told.1;
            let passed = matches!(question.answered, Some((_, Ok(()))));
            question.what.notifier == notifier && speaks(question.what.request) && all && passed
        };
        let found = self.questions.iter().find(covers)?;
        found.answered.map(|(when, _)| when)
    }

    /// No I/O of a change before all notifiers have answered. To the rules an I/O that stands for
    /// several is several.
    pub fn check_io(&mut self, io: &Io) {
        match io.joined.is_empty() {
            true => self.check_one_io(io),
            false => io.joined.iter().for_each(|part| self.check_one_io(part)),
        }
    }

    fn check_one_io(&mut self, io: &Io) {
        let sharers = self.sharers(io.id.slot);
        let Some(&leader) = sharers.first() else { return };
        let speaker = self.sent[leader].id;
        for &number in &sharers {
            self.sent[number].speakers.insert(speaker);
        }
        for &number in &sharers {
            let sent = &self.sent[number];
            let bytes = self.changed(number);
            let changes = !matches!(sent.request.op, Op::Read | Op::Flush | Op::Length);
            if !changes || bytes.0 == bytes.1 {
                continue;
            }
            assert_eq!(sent.refused, None, "request {number} was refused: {io:x?}");
            let mut since = 0;
            for Notifier { id, since: added, removed, snapshot, .. } in &self.notifiers {
                let entered_later = sent.entered.is_some_and(|when| when > *added);
                if *removed || !(snapshot.is_some() || entered_later) {
                    continue;
                }
                let known = self.known_since(*id, number);
                // A request that grows the object may have done so by now.
                let grows = io.op != Op::Truncate && sent.request.op == Op::Truncate;
                assert!(known.is_some() || grows, "{id} does not know of {number}: {io:x?}");
                since = since.max(known.unwrap_or(0));
            }
            // What a notifier is asked about waits, but for what was let pass before.
            let writes = matches!(io.op, Op::Write | Op::WriteZeroes | Op::Discard);
            for question in self.questions.iter().filter(|it| it.answered.is_none() && writes) {
                let hits = overlap(range(&question.what), bytes) && since > question.asked;
                assert!(!hits, "{:?} and yet {io:x?}", question.what);
            }
        }
    }

    /// Nothing is at the storage: so no read waits, for none of those that wait for a notifier
    /// holds it up.
    pub fn check_reads_pass(&self) {
        if !self.flights.is_empty() || !self.probes.is_empty() {
            return;
        }
        for (number, sent) in self.sent.iter().enumerate() {
            let plain = sent.request.op == Op::Read && !sent.request.flags.serialising;
            let waits = plain && sent.entered.is_some() && sent.completed.is_none();
            assert!(!waits, "read {number} waits for a notifier");
        }
    }

    pub fn check_completed(&self, number: usize, result: Result<(), i32>) {
        let sent = &self.sent[number];
        if let Some(errno) = sent.refused {
            assert_eq!(result, Err(errno), "request {number} was refused");
        }
        if sent.request.op == Op::Read && result.is_ok() {
            let until = self.now;
            for at in 0..sent.request.bytes {
                let address = sent.request.segments[0].address + at as usize;
                let label = self.memory.borrow().get(address);
                let offset = sent.request.offset + at;
                let plausible = self.is_plausible(label, offset, sent.submitted, until);
                assert!(plausible, "read {number} has {label:x} at {offset}");
            }
        }
    }

    /// Whether `label` is what byte `offset` may hold for one that looked from `since` to `until`.
    fn is_plausible(&self, label: Label, offset: u64, since: u64, until: u64) -> bool {
        let unwritten = |sent: &Sent| {
            let never = matches!(sent.completed, Some((_, Err(libc::ECANCELED | libc::EBUSY))));
            never || sent.refused.is_some()
        };
        let touches = |sent: &&Sent| {
            let Request { op, offset: start, bytes, .. } = sent.request;
            let inside = start <= offset && offset < start + bytes;
            let may = match op {
                Op::Write | Op::WriteZeroes | Op::Discard => inside,
                Op::Truncate => start <= offset,
                _ => false,
            };
            may && !unwritten(sent)
        };
        let over = |sent: &Sent| sent.completed.map_or(u64::MAX, |(when, _)| when);
        let value = |sent: &Sent| match sent.request.op {
            Op::Write => written(sent.request.token, (offset - sent.request.offset) as usize),
            Op::Discard => GONE,
            _ => ZERO,
        };
        let replaced = |after: u64| {
            let surely = |sent: &&Sent| {
                let ok = sent.completed.is_some_and(|(_, result)| result.is_ok());
                ok && matches!(sent.request.op, Op::Write | Op::WriteZeroes)
            };
            let later = |sent: &Sent| sent.submitted > after && over(sent) < since;
            self.sent.iter().filter(touches).filter(surely).any(later)
        };
        let at_first = if offset < LENGTH { initial(offset) } else { ZERO };
        let made_it =
            |sent: &Sent| value(sent) == label && sent.submitted < until && !replaced(over(sent));
        label == at_first && !replaced(0) || self.sent.iter().filter(touches).any(made_it)
    }

    /// Everything is over.
    pub fn conclude(&mut self) {
        assert!(self.open_questions().is_empty() && self.flights.is_empty());
        let waits = self.sent.iter().position(|sent| sent.completed.is_none());
        assert_eq!(waits, None, "a request waits for ever");
        let lost = self.notifiers.iter().find(|its| its.snapshot.is_none() && !its.removed);
        assert!(lost.is_none_or(|lost| lost.id == 0), "a notifier is never added");
        assert_eq!(self.memory.borrow().taken_count(), 0, "scratch is missing");
        assert!(self.memory.borrow_mut().misuse.take().is_none());
        assert!(is_idle(&self.machine));
        for offset in 0..self.machine.length().min(CAPACITY) {
            let (label, end) = (self.disk[offset as usize], u64::MAX - 1);
            assert!(self.is_plausible(label, offset, end, end), "byte {offset}: {label:x}");
        }
        for queue in 0..self.machine.owners().count() as u32 {
            let stats = self.machine.stats(queue);
            let its = |sent: &&Sent| sent.queue == queue && sent.request.op == Op::Write;
            assert_eq!(stats.writes, self.sent.iter().filter(its).count() as u64);
            // What starts again after a repair counts again.
            assert!(stats.merged <= stats.writes || stats.probe_repairs > 0);
            assert_eq!(stats.in_flight, 0);
        }
    }
}
