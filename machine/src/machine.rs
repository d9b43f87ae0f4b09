//! The machine itself: requests come in, wait for what they conflict with, read their edges, move
//! their bytes, leave. This file has the events, and what follows on each of them; every other file
//! has one subject, and knows nothing of this one.
//!
//! The way of a request, `Phase` by `Phase`:
//!
//! ```text
//!  Plugged --> Waiting --> Queued --> Edges --> Moving ---> Complete
//!                 |           |                                ^
//!                 |           '-> Changing --------------------|
//!                 '-> Member ----------------------------------'
//! ```
//!
//! If there are notifiers a change is `Announcing` between `Waiting` and `Queued`; for its turn,
//! and for reads that came meanwhile, it may be `Waiting` again (`announce/mod.rs`).
//!
//! A request skips each phase that it has no need of: `Plugged` without a throttle and a plug,
//! `Waiting` without a conflict, `Edges` without edges. It leaves `Queued` when it gets a place
//! among `depth`; `start` calls it `Moving` at once, and only a write that has edges to read
//! becomes `Edges` then. A write becomes a `Member` when it would wait, a read when it was plugged;
//! its leader moves its bytes. `Changing` is a zero write, a discard or a change of the length.
//!
//! A request that has a place among its queue's `depth` never waits for another request, so
//! places always come free again. Scratch is taken only by requests that have a place.
//!
//! The files, each of which uses only those below it:
//!
//! ```text
//!  machine     events, what starts, what follows on the end of an I/O
//!  batch       what was plugged enters at once; reads of one block share an I/O
//!  cancel      requests are taken back
//!  repair      the storage refuses aligned I/O: larger alignments, and all start anew
//!  pause       no request starts until all pauses are over
//!  late        what holds up requests that do not come back
//!  join        I/Os that lie side by side go out as one
//!  announce    notifiers are told before anything changes
//!  changing    zero writes, discards, changes of the length: step by step
//!  leaving     a request leaves: first the trackers, then comes its result
//!  entering    a request enters: what it claims, and whether it waits
//!  resize      steps that change the length
//!  zeroes      steps that make zeros
//!  writing     a write that starts: members, edges, bytes
//!  short_way   the common request: started and ended in one step each
//!  merge       requests that share an I/O
//!  moving      edges; a request's bytes, I/O by I/O
//!  overlay     what comes from a backing object, and which of it is there
//!  extent      the length, and which requests may change it
//!  isolation   who is kept apart from whom: three trackers
//!  table       requests, queues, scratch, actions
//!  splice      the memory of one I/O
//!  tracker     who waits for whom
//!  clusters    which clusters of an overlay are there
//!  io          what an I/O is
//! ```

use crate::announce::{Announcing, Answer, Notifiers};
use crate::batch::{Batching, ReadLeaders};
use crate::cancel::Cancelling;
use crate::changing::Changing;
use crate::clusters::{Clusters, OverlayState};
use crate::entering::Admission;
use crate::extent::Extent;
use crate::io::{Io, Op, Slot, ENDS_EARLY};
use crate::isolation::Isolation;
use crate::join::Joining;
use crate::late::{Asked, Late, Looking};
use crate::leaving::Leaving;
use crate::merge::Merger;
use crate::moving::{Mover, Resumed};
use crate::overlay::{Copying, Saver, Settled};
use crate::repair::{Repair, Repairing, Rest};
use crate::resize::{Resize, Taken, WindUp};
use crate::short_way::{Passage, ShortWay};
use crate::table::{Among, AmongSet, Announced, Held, Phase, Queue, Table};
use crate::twice::Twice;
use crate::writing::Writing;
use crate::zeroes::{Meaning, UnsupportedOps, Zeroing};
use crate::{Action, Alignments, Completion, PlugKey, ProbeOutcome, QueueConfig, QueueId, Request};
use crate::{NotifierId, RequestId, ScratchPool, Stats};

pub struct Machine<Q, T, S> {
    pub(crate) table: Table<Q, T, S>,
    pub(crate) isolation: Isolation,
    extent: Extent,
    unsupported: UnsupportedOps,
    repair: Repair,
    read_leaders: ReadLeaders,
    notifiers: Notifiers,
    /// The errno of the first flush that failed.
    flush_failed: Option<i32>,
}

impl<Q: Clone, T, S: ScratchPool> Machine<Q, T, S> {
    /// `length`: of the object, in bytes.
    pub fn new(scratch: S, length: u64) -> Self {
        Machine {
            table: Table::new(scratch),
            isolation: Isolation::default(),
            extent: Extent::new(length),
            unsupported: UnsupportedOps::default(),
            repair: Repair::default(),
            read_leaders: ReadLeaders::default(),
            notifiers: Notifiers::default(),
            flush_failed: None,
        }
    }

    pub fn add_queue(&mut self, owner: Q, config: QueueConfig) -> QueueId {
        assert!(config.alignments.request.is_power_of_two());
        assert!(config.alignments.memory.is_power_of_two());
        assert!(config.alignments.segment.is_power_of_two());
        assert!(config.granule.is_power_of_two());
        assert!(config.alignments.segment as u64 <= config.alignments.request);
        assert!(config.max_transfer >= config.alignments.request);
        assert!(config.granule >= config.alignments.request);
        assert!(config.depth > 0 && config.max_segments > 0);
        assert!(config.discard_alignment.is_multiple_of(config.alignments.request));
        assert!(config.dataless_max.is_multiple_of(config.alignments.request));
        assert!(config.discard_alignment > 0 && config.dataless_max > 0);
        let given = self.table.gives_places(self.repair.under_way);
        let places = if given { config.depth } else { 0 };
        let config = QueueConfig { last_block: u64::MAX, ..config };
        let id = self.table.add_queue(Queue::new(owner, config, places));
        self.extent.follow_again(&mut self.table);
        id
    }

    /// The queue must have nothing in flight.
    pub fn remove_queue(&mut self, queue: QueueId) {
        let gone = self.table.queues[queue as usize].take();
        assert!(gone.is_some_and(|queue| queue.stats.in_flight == 0));
    }

    /// The object is an overlay. To be called before the first request.
    pub fn make_overlay(&mut self, state: OverlayState) {
        let length = self.extent.length;
        self.table.overlay = Some(Box::new(Clusters::new(state, length)));
    }

    /// Reads of this queue keep what they take from the backing object.
    pub fn keep_reads(&mut self, queue: QueueId) {
        self.table.queue(queue).keeps_reads = true;
    }

    // ----- events -----

    /// Takes a request in. It may complete at once (then a `Complete` is among the actions).
    pub fn submit(&mut self, queue: QueueId, key: PlugKey, request: Request<T>) -> RequestId {
        if self.table.queue(queue).plug_of(key).is_none() {
            return self.enter(queue, request);
        }
        let slot = self.table.place(queue, request);
        let entry = self.table.entry(slot);
        entry.phase = Phase::Plugged;
        let id = entry.id;
        if let Some(plug) = self.table.queue(queue).plug_of(key) {
            plug.plugged.push(slot);
        }
        id
    }

    /// As `submit`, but no plug holds this request back; what the key holds back goes first.
    pub fn submit_now(&mut self, queue: QueueId, key: PlugKey, request: Request<T>) -> RequestId {
        self.submit_plugged(queue, key);
        self.enter(queue, request)
    }

    /// As `submit_now`, if the request is a common one (`short_way.rs`): one I/O, and no conflict.
    /// Its I/O is not among the actions: the caller does it, and then calls `done_by_caller`. Else
    /// the token comes back, and nothing has happened.
    pub fn submit_for_caller(
        &mut self,
        queue: QueueId,
        key: PlugKey,
        request: &mut Request<()>,
        token: T,
    ) -> Result<Io, T> {
        if self.table.queue(queue).plug_of(key).is_some() {
            return Err(token);
        }
        self.short_way().enter_for_caller(queue, request, token)
    }

    /// An I/O of `submit_for_caller` has moved all its bytes. Gives the token, if that is the end
    /// of the request: then no completion is among the actions. None: `io_done` is to be told.
    pub fn done_by_caller(&mut self, io: &Io) -> Option<T> {
        if self.short_way().leave(io) == Passage::NotOpen {
            return None;
        }
        let completion = self.table.end(io.id.slot);
        self.run();
        Some(completion.token)
    }

    /// The id of the request that this I/O is of.
    pub fn id_of(&self, io: &Io) -> RequestId {
        self.table.known(io.id.slot).id
    }

    /// The result of this request, which is not over, goes elsewhere.
    pub fn set_token(&mut self, io: &Io, token: T) {
        self.table.entry(io.id.slot).set_token(token);
    }

    fn enter(&mut self, queue: QueueId, request: Request<T>) -> RequestId {
        let (slot, passage) = self.short_way().enter(queue, request);
        let id = self.table.entry(slot).id;
        if passage == Passage::Taken {
            return id;
        }
        let admission = self.leaving().admit_or_refuse(slot);
        self.table.queue(queue).stats.waits += u64::from(admission == Admission::Waits);
        self.run();
        id
    }

    /// Holds back what is submitted with this key from here on; nests. The queue may be gone.
    pub fn plug(&mut self, queue: QueueId, key: PlugKey) {
        if let Some(queue) = self.table.queue_if_open(queue) {
            queue.plug(key);
        }
    }

    /// The counterpart of `plug`: the outermost one submits what was plugged, as one batch. Without
    /// a `plug`, and where the queue is gone, it does nothing.
    pub fn unplug(&mut self, queue: QueueId, key: PlugKey) {
        let its = self.table.queue_if_open(queue);
        if let Some(plugged) = its.and_then(|queue| queue.unplug(key)) {
            self.submit_batch(queue, plugged);
        }
    }

    /// Submits what the key holds back so far; its plugs stay.
    pub fn submit_plugged(&mut self, queue: QueueId, key: PlugKey) {
        if let Some(plugged) = self.table.queue(queue).take_plugged(key) {
            self.submit_batch(queue, plugged);
        }
    }

    /// Takes a request in for a throttle, which holds it back until `let_go`: no other request sees
    /// it, and it can be cancelled. `key`: if that is plugged the request is of its present batch.
    pub fn hold(&mut self, queue: QueueId, key: Option<PlugKey>, request: Request<T>) -> RequestId {
        let slot = self.table.place(queue, request);
        self.table.entry(slot).phase = Phase::Plugged;
        let home = self.table.queue(queue);
        let batch = key.and_then(|key| home.plug_of(key)).map(|plug| plug.batch);
        home.held.push_back(Held { slot, batch });
        self.table.known(slot).id
    }

    /// As `hold` for a request that no plug holds back; what the key holds back goes first.
    pub fn hold_now(&mut self, queue: QueueId, key: PlugKey, request: Request<T>) -> RequestId {
        self.submit_plugged(queue, key);
        self.hold(queue, None, request)
    }

    /// Submits what a throttle holds back of this queue, up to the request with the id `last`, in
    /// order of submission. What is of a batch that a plug still holds back goes there, the rest is
    /// a batch of its own.
    pub fn let_go(&mut self, queue: QueueId, last: RequestId) {
        let mut batch = std::mem::take(&mut self.table.queue(queue).spare_plugged);
        while let Some(&Held { slot, batch: meant_for }) = self.table.queue(queue).held.front() {
            if self.table.age(self.table.known(slot).id) < self.table.age(last) {
                break;
            }
            let home = self.table.queue(queue);
            home.held.pop_front();
            match meant_for.and_then(|meant_for| home.plug_with(meant_for)) {
                Some(plug) => plug.plugged.push(slot),
                None => batch.push(slot),
            }
        }
        self.submit_batch(queue, batch);
    }

    /// Submits what all keys hold back so far, as one batch, in order of submission.
    pub fn submit_all_plugged(&mut self, queue: QueueId) {
        let mut plugged = self.table.queue(queue).take_all_plugged();
        let age = |&slot: &Slot| self.table.age(self.table.known(slot).id);
        plugged.sort_by_cached_key(|slot| std::cmp::Reverse(age(slot)));
        self.submit_batch(queue, plugged);
    }

    fn submit_batch(&mut self, queue: QueueId, plugged: Vec<Slot>) {
        if plugged.is_empty() {
            self.table.queue(queue).spare_plugged = plugged;
            return;
        }
        self.batching().enter(&plugged);
        let first = self.table.actions.len();
        self.run();
        Joining { table: &mut self.table }.join(first);
        self.batching().end(queue, plugged);
    }

    /// `io` is over: it moved so many bytes (possibly fewer than asked), or failed with an errno.
    pub fn io_done(&mut self, mut io: Io, result: Result<u64, i32>) {
        if !io.joined.is_empty() {
            return self.joined_done(io, result);
        }
        if result == Ok(io.bytes) {
            if self.short_way().leave(&io) == Passage::Taken {
                self.table.complete(io.id.slot);
                return self.run();
            }
        } else {
            self.table.entry(io.id.slot).on_short_way = false;
        }
        if io.op == Op::Length {
            return self.length_told(&io, result);
        }
        if io.op == Op::SaveMap && result != Err(libc::EINTR) {
            return self.map_saved(&io, result.err());
        }
        let error = match result {
            Ok(moved) if moved > io.bytes => Some(libc::EIO),
            Ok(moved) if moved == io.bytes => None,
            Ok(_) | Err(libc::EINTR) => match self.mover().resume(io, result.ok()) {
                Resumed::Asked => return,
                Resumed::Stalled(stalled) => {
                    io = stalled;
                    let owner = self.table.home(io.id.slot).owner.clone();
                    self.table.actions.push(Action::Stalled(owner, Box::new(io.clone())));
                    (!self.stops_keeping(&io)).then_some(libc::EIO)
                }
            },
            Err(_) if self.stops_keeping(&io) => None,
            Err(ENDS_EARLY) => Some(libc::EIO),
            Err(errno) => self.error_of(&io, errno),
        };
        let slot = io.id.slot;
        self.part_done(&io, error);
        self.go_on(slot);
        self.run();
    }

    /// The answer to `Action::Probe`. Returns the alignments that hold now; None: the machine has
    /// not asked.
    pub fn repaired(&mut self, outcome: ProbeOutcome) -> Option<Alignments> {
        let alignments = self.repairing().repaired(outcome)?;
        self.run();
        Some(alignments)
    }

    /// Adds a notifier, which is told of all changes from now on. Those that have entered by now it
    /// may not be told of: when these are over, `take_added` gives the notifier's name.
    pub fn add_notifier(&mut self, unit: u64) -> NotifierId {
        self.announcing().add(unit)
    }

    /// The notifier is told of nothing more. What it has been told of waits for its answer all the
    /// same.
    pub fn remove_notifier(&mut self, id: NotifierId) {
        self.announcing().remove(id);
    }

    /// The answer to `Action::Announce`: the change goes on, or fails with an errno. False: no
    /// such question is open.
    pub fn announced(
        &mut self,
        request: RequestId,
        notifier: NotifierId,
        result: Result<(), i32>,
    ) -> bool {
        let answer = self.announcing().answered(request, notifier, result);
        self.run();
        answer == Answer::Taken
    }

    /// Whether notifiers are not added yet; then `take_added` is to be called after each step.
    pub fn is_adding(&self) -> bool {
        self.notifiers.is_adding()
    }

    /// The notifiers that have come to be added since this was called last.
    pub fn take_added(&mut self) -> Vec<NotifierId> {
        self.notifiers.look(&self.table);
        self.notifiers.take_added()
    }

    /// Takes back a request that has not reached the storage; the request then completes with
    /// ECANCELED. EBUSY: the request is at the storage, and comes to its end. A zero write or a
    /// discard that has more than `endless` left to ask for may end with ECANCELED even so. ENOENT:
    /// the queue has no such request, or the result of the request is decided.
    pub fn cancel(&mut self, queue: QueueId, id: RequestId) -> Result<(), i32> {
        self.cancelling().cancel(queue, id)?;
        self.run();
        Ok(())
    }

    /// As `cancel` for each request of the queue; returns how many were taken back. They leave the
    /// trackers in one go, so that the cost grows with what is tracked, not with its square.
    pub fn cancel_all(&mut self, queue: QueueId) -> usize {
        let gone = self.cancelling().cancel_all(queue);
        self.run();
        gone
    }

    /// No request starts until as many calls of `resume`; see `is_at_rest`.
    pub fn pause(&mut self) {
        self.table.pauses += 1;
        self.table.set_places(false);
    }

    /// The counterpart of `pause`.
    pub fn resume(&mut self) {
        self.table.pauses -= 1;
        if self.table.gives_places(self.repair.under_way) {
            self.table.set_places(true);
            self.run();
        }
    }

    /// Whether the machine is paused, and nothing is at the storage.
    pub fn is_at_rest(&self) -> bool {
        self.table.pauses > 0 && !self.repair.under_way && self.table.nothing_runs()
    }

    pub fn is_paused(&self) -> bool {
        self.table.pauses > 0
    }

    /// The requests of a queue that have I/O at the storage, their own or their leader's, in no
    /// order.
    pub fn at_storage(&self, queue: QueueId) -> Vec<(RequestId, Asked)> {
        let repair_under_way = self.repair.under_way;
        let looking = Looking { table: &self.table, isolation: &self.isolation, repair_under_way };
        looking.at_storage(queue)
    }

    /// The request that this one, which is in flight, waits for or is a member of.
    pub fn waits_for(&self, id: RequestId) -> Option<RequestId> {
        let repair_under_way = self.repair.under_way;
        let looking = Looking { table: &self.table, isolation: &self.isolation, repair_under_way };
        looking.whom(id)
    }

    /// The machine can't be trusted any more: hands every request back to its owner with EIO.
    pub fn abandon(&mut self) -> Vec<Completion<T>> {
        self.table.abandon()
    }

    // ----- what the caller has to do, and may know -----

    /// I/Os that lie side by side among the actions go out as one. To be called when a load of
    /// results has been handed in, before the actions are taken.
    pub fn join(&mut self) {
        Joining { table: &mut self.table }.join(0);
    }

    /// Appends to `list` what has to be done next, in order. To be called after each step. If the
    /// list is empty it changes places with the machine's own: nothing is copied or allocated.
    pub fn take_actions(&mut self, list: &mut Vec<Action<Q, T>>) {
        let actions = &mut self.table.actions;
        match (actions.is_empty(), list.is_empty()) {
            (true, _) => {}
            (false, true) => std::mem::swap(list, actions),
            (false, false) => list.append(actions),
        }
    }

    /// The exact length of the object in bytes.
    pub fn length(&self) -> u64 {
        self.extent.length
    }

    /// An overlay: whether the byte at `offset` is there, and up to where it is the same with all
    /// bytes, at most `end`. None: the object is no overlay.
    pub fn overlay_run(&self, offset: u64, end: u64) -> Option<(bool, u64)> {
        self.table.overlay.as_ref().map(|clusters| clusters.run(offset, end))
    }

    /// An overlay: whether the map says of all clusters that are there; and whether all are.
    pub fn overlay_is_saved(&self) -> (bool, bool) {
        let clusters = self.table.overlay.as_ref();
        clusters.map_or((true, true), |it| (it.is_all_saved(), it.is_complete()))
    }

    pub fn owners(&self) -> impl Iterator<Item = &Q> {
        self.table.open_queues().map(|queue| &queue.owner)
    }

    /// Whether a request waits for another, or rides in the I/O of another queue, or all wait for a
    /// repair, while there is more than one queue: what they wait for may be I/O of another queue
    /// than their own.
    pub fn waits_across_queues(&self) -> bool {
        let Table { waiting, riding, .. } = self.table;
        let waits = waiting + riding > 0 || self.repair.under_way;
        waits && self.table.open_queues().nth(1).is_some()
    }

    /// The requests of a queue that have not come back and are no younger than `until`, the oldest
    /// first, each with what it waits for.
    pub fn late(&self, queue: QueueId, until: RequestId) -> Vec<Late> {
        let repair_under_way = self.repair.under_way;
        let looking = Looking { table: &self.table, isolation: &self.isolation, repair_under_way };
        looking.late(queue, until)
    }

    pub fn stats(&self, queue: QueueId) -> Stats {
        self.table.known_queue(queue).stats
    }

    // ----- the way through the storage -----

    /// Starts what can be started.
    fn run(&mut self) {
        loop {
            if !self.table.unannounced.is_empty() {
                self.announcing().go_on();
            }
            let Some(id) = self.table.runnable.pop() else { return };
            loop {
                let queue = self.table.queue(id);
                if queue.active >= queue.places {
                    if self.repair.under_way {
                        self.repairing().look_at_rest();
                    }
                    break;
                }
                let Some(slot) = queue.queued.pop_front() else { break };
                queue.active += 1;
                self.start(slot);
            }
        }
    }

    fn start(&mut self, slot: Slot) {
        let (flush_failed, length) = (self.flush_failed, self.extent.length);
        let no_flush = self.table.config_of(slot).no_flush;
        let overlays = self.table.overlay.is_some();
        let entry = self.table.entry(slot);
        entry.phase = Phase::Moving;
        // The cursor is at the end, so `go_on` issues nothing unless a branch below sets it back.
        entry.cursor.position = entry.end();
        // Of all of the vector: a part of it may have been filled with zeros before a repair.
        if entry.request.op == Op::Read && entry.twice.is_empty() {
            entry.twice = Twice::of(&entry.request.segments);
        }
        let past_end = entry.end() > length;
        match entry.request.op {
            Op::Flush if no_flush => {}
            Op::Flush if flush_failed.is_some() => entry.error = flush_failed,
            Op::Flush => {
                self.saver().note_flush(slot);
                self.mover().flush(slot);
            }
            Op::Truncate => self.changing().start_truncate(slot),
            Op::Length => self.resize().ask_length(slot),
            Op::Populate if !overlays => entry.error = Some(libc::EINVAL),
            Op::Populate => entry.cursor.position = entry.request.offset,
            _ if entry.request.bytes == 0 => {}
            _ if past_end => self.changing().start_past_end(slot),
            Op::Read if !entry.members.is_empty() => self.merger().read_shared(slot),
            Op::Read => self.writing().begin_moving(slot),
            Op::Write => {
                if self.isolation.has_stages() {
                    self.announcing().pass_along(slot);
                }
                self.writing().begin_write(slot);
            }
            Op::WriteZeroes | Op::Discard => self.changing().start(slot),
            Op::Fill | Op::SaveMap => entry.error = Some(libc::EINVAL),
        }
        self.go_on(slot);
    }

    /// After an I/O is over, or nothing had to be issued: the next phase, or the end.
    fn go_on(&mut self, slot: Slot) {
        let entry = self.table.entry(slot);
        if entry.error.is_none() {
            match entry.phase {
                Phase::Edges if entry.outstanding == 0 => self.writing().after_edges(slot),
                Phase::Moving => self.mover().issue(slot),
                Phase::Changing => self.changing().go_on(slot),
                _ => {}
            }
        }
        if self.table.is_unsettled() && !self.is_settled(slot) {
            return;
        }
        let entry = self.table.entry(slot);
        if entry.outstanding == 0 {
            let plain = entry.change.is_none() && entry.error.is_none();
            if plain || self.rest_of(slot) == AtRest::Over {
                self.leaving().finish(slot);
            }
        }
    }

    /// A request of an overlay has nothing left to do for its clusters. False: it stays, or has
    /// entered anew.
    fn is_settled(&mut self, slot: Slot) -> bool {
        let entry = self.table.known(slot);
        if entry.outstanding > 0 || entry.error.is_some() {
            return true;
        }
        match self.saver().settle(slot) {
            Settled::Over => true,
            Settled::Stays => false,
            Settled::EntersAgain => {
                self.enter_again(slot);
                false
            }
        }
    }

    /// Nothing of the request is at the storage any more, but something may be left to do for it.
    fn rest_of(&mut self, slot: Slot) -> AtRest {
        let changes = self.table.entry(slot).change.is_some();
        if changes && self.resize().wind_up(slot) == WindUp::Undoing {
            return AtRest::Stays;
        }
        if self.repair.under_way && self.repairing().come_to_rest(slot) == Rest::Parked {
            return AtRest::Stays;
        }
        AtRest::Over
    }

    // ----- I/O that is over -----

    /// One I/O less at the storage; the first I/O that fails gives the request its error.
    #[inline(always)]
    fn part_done(&mut self, io: &Io, error: Option<i32>) {
        self.mover().part_done(io, error);
        if self.table.known(io.id.slot).overlaid.is_some() {
            Copying { table: &mut self.table }.io_over(io, error);
        }
        match io.op {
            Op::Flush => {
                self.flush_failed = self.flush_failed.or(error);
                // The flush may be a part of a fill, and that may have been cancelled.
                let entry = self.table.entry(io.id.slot);
                if !entry.cancelled {
                    entry.error = self.flush_failed;
                }
            }
            Op::Truncate if error.is_some() => self.extent.truncate_failed(),
            _ => {}
        }
    }

    /// The error of the request whose I/O failed; None: the storage does not know this operation,
    /// and there is another way.
    #[cold]
    fn error_of(&mut self, io: &Io, errno: i32) -> Option<i32> {
        let Machine { table, unsupported, .. } = self;
        if (Zeroing { table, unsupported }).meaning(io, errno) == Meaning::Unsupported {
            return None;
        }
        self.repairing().note_refusal(io, errno);
        Some(errno)
    }

    /// An I/O that stands for several is over.
    fn joined_done(&mut self, mut io: Io, result: Result<u64, i32>) {
        let first = self.table.actions.len();
        let parts = std::mem::take(&mut io.joined);
        if result != Ok(io.bytes) {
            return Joining { table: &mut self.table }.part(parts);
        }
        // Nothing starts before all parts are over: to the storage they were one I/O.
        for part in parts {
            self.part_done(&part, None);
            self.go_on(part.id.slot);
        }
        self.run();
        Joining { table: &mut self.table }.join(first);
    }

    /// The storage has said how long it is, or why it can't.
    fn length_told(&mut self, io: &Io, told: Result<u64, i32>) {
        let slot = io.id.slot;
        let taken_over = told.and_then(|length| self.resize().take_over(slot, length));
        self.part_done(io, taken_over.err());
        match taken_over {
            Ok(Taken::Shorter) => self.enter_alone(slot),
            Ok(Taken::Over) | Err(_) => self.go_on(slot),
        }
        self.run();
    }

    /// A write of what a read keeps of the backing object has failed: the read has its bytes, and
    /// the cluster stays absent.
    fn stops_keeping(&mut self, io: &Io) -> bool {
        let keeps = io.op == Op::Write && self.table.known(io.id.slot).request.op == Op::Read;
        if keeps {
            Copying { table: &mut self.table }.give_up(io);
        }
        keeps
    }

    /// The map of an overlay has been saved for those that wait for it, or has not.
    fn map_saved(&mut self, io: &Io, error: Option<i32>) {
        // The map may hold anything of what it was to hold: no later flush may rely on it.
        self.flush_failed = self.flush_failed.or(error);
        self.part_done(io, error);
        for slot in self.saver().map_saved(error.is_none()) {
            let entry = self.table.entry(slot);
            entry.error = entry.error.or(error);
            self.go_on(slot);
        }
        self.run();
    }

    /// A request that has a place leaves it, and enters anew: it waits for all that are there, and
    /// those that come later wait for it.
    fn enter_alone(&mut self, slot: Slot) {
        self.table.entry(slot).request.offset = 0;
        self.enter_again(slot);
    }

    /// A request that has a place leaves it, and enters anew with what its range is now.
    fn enter_again(&mut self, slot: Slot) {
        self.leaving().leave_trackers(slot);
        let entry = self.table.entry(slot);
        (entry.tracked, entry.waits_among) = (AmongSet::NONE, AmongSet::NONE);
        entry.excludes_readers = false;
        entry.announced = Announced::default();
        entry.phase = Phase::Queued;
        let queue = entry.queue;
        self.table.queue(queue).active -= 1;
        self.table.runnable.push(queue);
        self.leaving().admit_or_refuse(slot);
    }

    // ----- the parts of the machine, each with what it may see -----

    fn leaving(&mut self) -> Leaving<'_, Q, T, S> {
        let Machine { table, isolation, extent, .. } = self;
        Leaving { table, isolation, extent }
    }

    fn short_way(&mut self) -> ShortWay<'_, Q, T, S> {
        let Machine { table, isolation, extent, .. } = self;
        ShortWay { table, isolation, extent }
    }

    fn batching(&mut self) -> Batching<'_, Q, T, S> {
        let Machine { table, isolation, extent, read_leaders: leaders, .. } = self;
        Batching { table, isolation, extent, leaders }
    }

    fn cancelling(&mut self) -> Cancelling<'_, Q, T, S> {
        let Machine { table, isolation, extent, .. } = self;
        Cancelling { table, isolation, extent }
    }

    fn announcing(&mut self) -> Announcing<'_, Q, T, S> {
        let Machine { table, isolation, extent, notifiers, .. } = self;
        Announcing { table, isolation, extent, notifiers }
    }

    fn repairing(&mut self) -> Repairing<'_, Q, T, S> {
        let Machine { table, isolation, extent, repair, .. } = self;
        Repairing { table, isolation, extent, repair }
    }

    fn changing(&mut self) -> Changing<'_, Q, T, S> {
        let Machine { table, isolation, extent, unsupported, .. } = self;
        Changing { table, isolation, extent, unsupported }
    }

    fn resize(&mut self) -> Resize<'_, Q, T, S> {
        Resize { table: &mut self.table, extent: &mut self.extent }
    }

    fn writing(&mut self) -> Writing<'_, Q, T, S> {
        let writes = self.isolation.among(Among::Writes);
        Writing { table: &mut self.table, writes, length: self.extent.length }
    }

    fn merger(&mut self) -> Merger<'_, Q, T, S> {
        let writes = self.isolation.among(Among::Writes);
        Merger { table: &mut self.table, writes, length: self.extent.length }
    }

    fn saver(&mut self) -> Saver<'_, Q, T, S> {
        Saver { table: &mut self.table }
    }

    fn mover(&mut self) -> Mover<'_, Q, T, S> {
        Mover { table: &mut self.table }
    }
}

/// Whether a request that has nothing at the storage any more is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtRest {
    Over,
    Stays,
}
