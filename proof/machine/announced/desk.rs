//! A machine with notifiers, its storage, and what was asked of both.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use super::super::memory::{initial, written, Label, Memory, Pool, BASE, GONE, POISON, ZERO};
use crate::io::{Io, Op, Segment, Segments};
use crate::table::Phase;
use crate::{Action, Alignments, Announcement, Machine, NotifierId, ProbeOutcome, QueueConfig};
use crate::{RefusedIo, Request, RequestFlags, RequestId};

/// The object at first, and the most that it grows to.
pub const LENGTH: u64 = 256;
pub const CAPACITY: u64 = 512;

pub struct Sent {
    pub request: Request<usize>,
    pub queue: u32,
    pub id: RequestId,
    pub submitted: u64,
    /// When it was first seen among those that others see.
    pub entered: Option<u64>,
    pub completed: Option<(u64, Result<(), i32>)>,
    /// Whose answers count for it: its own, and those of the leaders that it has had.
    pub speakers: HashSet<RequestId>,
    /// A notifier has refused it.
    pub refused: Option<i32>,
    pub cancelled: bool,
}

/// A question to a notifier.
#[derive(Debug, Clone)]
pub struct Question {
    pub what: Announcement,
    pub asked: u64,
    /// When it was answered, and how.
    pub answered: Option<(u64, Result<(), i32>)>,
}

pub struct Notifier {
    pub id: NotifierId,
    pub unit: u64,
    pub since: u64,
    pub removed: bool,
    /// The disk when it came to be added; None: it is not added yet.
    pub snapshot: Option<Vec<Label>>,
    /// Units that it has been told of.
    pub units: HashSet<u64>,
}

pub struct Flight {
    pub io: Io,
    /// Its bytes have moved already.
    pub moved: bool,
}

/// How an I/O ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Full,
    Short(u64),
    Failed(i32),
}

pub struct Desk {
    pub machine: Machine<usize, usize, Pool>,
    pub memory: Rc<RefCell<Memory>>,
    pub disk: Vec<Label>,
    pub flights: Vec<Flight>,
    pub probes: Vec<RefusedIo>,
    pub questions: Vec<Question>,
    pub notifiers: Vec<Notifier>,
    pub sent: Vec<Sent>,
    /// Reads and writes must be multiples of this, or are refused with EINVAL.
    pub wants: u64,
    pub now: u64,
    pub moves_early: bool,
    pub trace: bool,
    guest_used: usize,
}

impl Desk {
    pub fn new(configs: &[QueueConfig], seed: u64) -> Desk {
        let memory = Rc::new(RefCell::new(Memory::new(vec![POISON; 1 << 14], 0, seed)));
        let mut machine = Machine::new(Pool(memory.clone()), LENGTH);
        for (number, config) in configs.iter().enumerate() {
            machine.add_queue(number, config.clone());
        }
        let content = |at| if at < LENGTH { initial(at) } else { ZERO };
        Desk {
            machine,
            memory,
            disk: (0..CAPACITY).map(content).collect(),
            flights: Vec::new(),
            probes: Vec::new(),
            questions: Vec::new(),
            notifiers: Vec::new(),
            sent: Vec::new(),
            wants: 1,
            now: 0,
            moves_early: false,
            trace: false,
            guest_used: 0,
        }
    }

    pub fn say(&self, words: &dyn Fn() -> String) {
        if self.trace {
            eprintln!("{:4} {}", self.now, words());
        }
    }

    // ----- events -----

    /// A request, whose memory is made here.
    pub fn request(&mut self, op: Op, offset: u64, bytes: u64) -> Request<usize> {
        let token = self.sent.len();
        let mut segments = Segments::new();
        if matches!(op, Op::Read | Op::Write) && bytes > 0 {
            let address = BASE + self.guest_used.next_multiple_of(4) + 4 * (token % 3);
            self.guest_used = address - BASE + bytes as usize;
            segments.push(Segment { address, bytes: bytes as usize });
            if op == Op::Write {
                let mut memory = self.memory.borrow_mut();
                (0..bytes as usize).for_each(|at| memory.set(address + at, written(token, at)));
            }
        }
        let flags = RequestFlags::default();
        Request { op, flags, guest_block: 0, offset, bytes, segments, token }
    }

    pub fn note_sent(&mut self, queue: u32, request: &Request<usize>) {
        self.now += 1;
        let Request { op, offset, bytes, guest_block, flags, token, .. } = request;
        self.say(&|| {
            let end = offset + bytes;
            format!("submit {token}: queue {queue} {op:?} {offset}..{end} {guest_block} {flags:?}")
        });
        self.sent.push(Sent {
            request: request.clone(),
            queue,
            id: 0,
            submitted: self.now,
            entered: None,
            completed: None,
            speakers: HashSet::new(),
            refused: None,
            cancelled: false,
        });
    }

    pub fn note_id(&mut self, id: RequestId) {
        let sent = self.sent.last_mut().expect("just sent");
        sent.id = id;
        sent.speakers.insert(id);
        self.take_in();
    }

    pub fn submit(&mut self, queue: u32, request: Request<usize>) -> usize {
        self.note_sent(queue, &request);
        let number = request.token;
        let id = self.machine.submit(queue, 1, request);
        self.note_id(id);
        number
    }

    /// Of these bytes, on the first queue.
    pub fn send(&mut self, op: Op, offset: u64, bytes: u64) -> usize {
        let request = self.request(op, offset, bytes);
        self.submit(0, request)
    }

    pub fn add(&mut self, unit: u64) -> NotifierId {
        self.now += 1;
        let id = self.machine.add_notifier(unit);
        self.say(&|| format!("adds notifier {id} of {unit}"));
        let (since, snapshot, units) = (self.now, None, HashSet::new());
        self.notifiers.push(Notifier { id, unit, since, removed: false, snapshot, units });
        self.take_in();
        id
    }

    pub fn remove(&mut self, id: NotifierId) {
        self.now += 1;
        self.say(&|| format!("removes notifier {id}"));
        self.machine.remove_notifier(id);
        let its = |notifier: &&mut Notifier| notifier.id == id;
        self.notifiers.iter_mut().find(its).expect("a notifier").removed = true;
        self.take_in();
    }

    pub fn open_questions(&self) -> Vec<usize> {
        let open = |&number: &usize| self.questions[number].answered.is_none();
        (0..self.questions.len()).filter(open).collect()
    }

    pub fn answer(&mut self, question: usize, result: Result<(), i32>) {
        self.now += 1;
        let Announcement { notifier, request, .. } = self.questions[question].what;
        self.say(&|| format!("answers question {question}: {result:?}"));
        self.check_point_in_time(question);
        self.questions[question].answered = Some((self.now, result));
        let number = self.number_of(request);
        self.sent[number].refused = result.err();
        assert!(self.machine.announced(request, notifier, result), "the question is open");
        self.take_in();
        if let Err(errno) = result {
            let completed = self.sent[number].completed.map(|(_, result)| result);
            assert_eq!(completed, Some(Err(errno)), "request {number} was refused");
        }
        // Its other question may be open by now; this one is not.
        let open = self.machine.announced(request, notifier, Ok(()));
        let again = |question: &Question| {
            question.answered.is_none()
                && (question.what.request, question.what.notifier) == (request, notifier)
        };
        assert!(!open && !self.questions.iter().any(again), "an answer is taken twice");
        self.take_in();
    }

    pub fn finish(&mut self, index: usize, end: End) {
        self.now += 1;
        let Flight { io, moved, .. } = self.flights.swap_remove(index);
        let wanted = !matches!(io.op, Op::Read | Op::Write)
            || io.offset.is_multiple_of(self.wants) && io.bytes.is_multiple_of(self.wants);
        self.say(&|| format!("ends {:?} {:?} {}+{}: {end:?}", io.id, io.op, io.offset, io.bytes));
        let result = match end {
            _ if !wanted => Err(libc::EINVAL),
            End::Failed(errno) => Err(errno),
            End::Full => Ok(io.bytes),
            End::Short(bytes) => Ok(bytes),
        };
        if let (Ok(bytes), false) = (result, moved) {
            self.carry_out(&io, bytes);
        }
        let result = match io.op {
            Op::Length => Ok(self.machine.length()),
            Op::Fill | Op::Flush | Op::Truncate => result.map(|_| 0),
            _ => result,
        };
        let result = if io.op == Op::Fill { Ok(io.bytes) } else { result };
        self.machine.io_done(io, result);
        self.take_in();
    }

    /// The storage takes blocks that are four times as large.
    pub fn answer_probe(&mut self) {
        let refusal = self.probes.pop().expect("a probe");
        let Alignments { request, .. } = refusal.config.alignments;
        let larger = Alignments { request: self.wants.max(request), ..refusal.config.alignments };
        let found = larger.request > request;
        self.say(&|| format!("answers the probe: {larger:?}"));
        let outcome = if found { ProbeOutcome::Found(larger) } else { ProbeOutcome::NothingHelps };
        self.machine.repaired(outcome);
        self.take_in();
    }

    pub fn cancel(&mut self, number: usize) {
        self.now += 1;
        let Sent { id, queue, completed, .. } = self.sent[number];
        let asked = self.open_questions().iter().any(|&at| self.questions[at].what.request == id);
        self.sent[number].cancelled = completed.is_none() && !asked;
        let answer = self.machine.cancel(queue, id);
        self.say(&|| format!("cancels {number}: {answer:?}"));
        match (completed.is_some(), asked) {
            (true, _) => assert_eq!(answer, Err(libc::ENOENT)),
            (_, true) => assert_eq!(answer, Err(libc::EBUSY), "{number} is being announced"),
            _ => assert!(answer != Err(libc::ENOENT)),
        }
        self.take_in();
        let completed = self.sent[number].completed.map(|(_, result)| result);
        assert!(answer.is_err() || completed == Some(Err(libc::ECANCELED)));
    }

    // ----- what follows -----

    pub fn number_of(&self, id: RequestId) -> usize {
        self.sent.iter().position(|sent| sent.id == id).expect("a request")
    }

    /// What the machine asks for.
    pub fn take_in(&mut self) {
        self.machine.join();
        let mut actions = Vec::new();
        self.machine.take_actions(&mut actions);
        self.note_entered();
        if self.machine.is_adding() {
            for id in self.machine.take_added() {
                self.note_added(id);
            }
        }
        for action in actions {
            match action {
                Action::Io(_, io) => self.take_io(io),
                Action::Announce(queue, what) => self.take_question(queue, what),
                Action::Stalled(..) => {}
                Action::Probe(_, refusal) => {
                    assert!(self.flights.is_empty() && self.probes.is_empty());
                    self.probes.push(*refusal);
                }
                Action::Complete(done) => {
                    self.now += 1;
                    self.say(&|| format!("  completes {}: {:?}", done.token, done.result));
                    let sent = &mut self.sent[done.token];
                    assert_eq!(sent.completed, None);
                    sent.completed = Some((self.now, done.result));
                    self.check_completed(done.token, done.result);
                }
            }
        }
        self.check_reads_pass();
    }

    fn note_entered(&mut self) {
        for sent in &mut self.sent {
            let phase = self.machine.table.in_flight().find(|(_, entry)| entry.id == sent.id);
            if phase.is_none_or(|(_, entry)| entry.phase != Phase::Plugged) && sent.id > 0 {
                sent.entered.get_or_insert(self.now);
            }
        }
    }

    fn take_io(&mut self, io: Io) {
        self.check_io(&io);
        self.say(&|| format!("  I/O {:?} {:?} {}+{}", io.id, io.op, io.offset, io.bytes));
        let early = self.moves_early && io.op == Op::Write && self.wants == 1;
        if early {
            self.carry_out(&io, io.bytes);
        }
        self.flights.push(Flight { io, moved: early });
    }

    fn carry_out(&mut self, io: &Io, moved: u64) {
        let memory = &mut self.memory.borrow_mut();
        let copy = |memory: &mut Memory| {
            for copy in &io.copies {
                for at in 0..copy.bytes {
                    let label = memory.get(copy.from + at);
                    memory.set(copy.to + at, label);
                }
            }
        };
        let range = io.offset as usize..(io.offset + moved) as usize;
        match io.op {
            Op::WriteZeroes => return self.disk[range].fill(ZERO),
            Op::Discard => return self.disk[range].fill(GONE),
            Op::Truncate => return self.disk[io.offset as usize..].fill(ZERO),
            Op::Write => copy(memory),
            _ => {}
        }
        let addresses = io.segments.iter().flat_map(|s| s.address..s.address + s.bytes);
        for (offset, address) in (io.offset..io.offset + moved).zip(addresses) {
            match io.op {
                Op::Write => self.disk[offset as usize] = memory.get(address),
                Op::Fill => memory.set(address, ZERO),
                _ => memory.set(address, self.disk[offset as usize]),
            }
        }
        if io.op == Op::Read && moved == io.bytes {
            copy(memory);
        }
    }
}
