//! The byte model: what a byte of the disk may be when a request looks at it.
//!
//! Who looks may see the value of a write that was admitted by then, or the initial one, unless
//! a write that came after it had succeeded before he began to look. Writes that failed may have
//! had an effect, but only where I/O was issued for them.

use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, source, Label, Memory, GONE, ZERO};
use super::scenario::Scenario;
use crate::io::Op;
use crate::Alignments;

/// Somebody who reads: what he must at least see.
pub struct Look<'a> {
    scenario: &'a Scenario,
    ledger: &'a Ledger,
    /// Successful writes that were over before he began.
    must_see: Set,
}

impl<'a> Look<'a> {
    pub fn new(scenario: &'a Scenario, ledger: &'a Ledger, over: Set) -> Self {
        let writes = members(over & ledger.succeeded)
            .filter(|&n| {
                let op = scenario.plans[n].op;
                matches!(op, Op::Write | Op::WriteZeroes | Op::Truncate | Op::Length)
            })
            .fold(0, |set, number| set | bit(number));
        Look { scenario, ledger, must_see: writes }
    }

    /// Whether he may see `label` at `offset`.
    pub fn check(&self, offset: u64, label: Label) -> Checked {
        let covering = members(self.must_see)
            .filter(|&number| self.scenario.plans[number].changes(offset))
            .fold(0, |set, number| set | bit(number));
        let beyond = offset >= self.scenario.length;
        if label == ZERO && beyond && covering == 0 {
            return Ok(());
        }
        if label == ZERO || label == GONE {
            return self.check_cleared(offset, label, covering);
        }
        let Some(writer) = source(label) else {
            if label != initial(offset) || beyond {
                return Err(format!("byte {offset} is {label:#x}, which no request wrote there"));
            }
            return match members(covering).next() {
                None => Ok(()),
                Some(newer) => {
                    Err(format!("byte {offset} is the initial one, write {newer} is lost"))
                }
            };
        };
        let plan = &self.scenario.plans[writer];
        if writer >= self.ledger.entries.len() || plan.op != Op::Write || !plan.covers(offset) {
            return Err(format!("byte {offset} is {label:#x}: request {writer} has no such byte"));
        }
        if super::memory::written(writer, position(plan.address_at(offset))) != label {
            return Err(format!("byte {offset} is another byte of request {writer}: {label:#x}"));
        }
        if !self.ledger.entries[writer].issued[(offset - plan.offset) as usize] {
            return Err(format!("byte {offset} was written, though not by write {writer}"));
        }
        let overwritten =
            members(covering).find(|&newer| self.ledger.entries[newer].before & bit(writer) != 0);
        match overwritten {
            None => Ok(()),
            Some(newer) => {
                Err(format!("byte {offset} is of write {writer}, the later write {newer} is lost"))
            }
        }
    }

    /// A byte without a name: any zero write, or discard, that nothing came after may have made it.
    fn check_cleared(&self, offset: u64, label: Label, covering: Set) -> Checked {
        let kind = if label == ZERO { Op::WriteZeroes } else { Op::Discard };
        let entries = &self.ledger.entries;
        let may_be = |number: &usize| {
            let (plan, entry) = (&self.scenario.plans[*number], &entries[*number]);
            let issued = || entry.issued[(offset - plan.offset) as usize];
            match plan.op {
                Op::Truncate | Op::Length if kind == Op::WriteZeroes => {
                    let done = entry.result.map_or(entry.touched, |result| result.is_ok());
                    plan.clears(offset) && done
                }
                op => op == kind && plan.clears(offset) && issued(),
            }
        };
        let lost = |number: usize| {
            members(covering).find(|&newer| entries[newer].before & bit(number) != 0)
        };
        let mut newer = None;
        for number in (0..entries.len()).filter(may_be) {
            match lost(number) {
                None => return Ok(()),
                lost => newer = lost,
            }
        }
        match newer {
            Some(newer) => {
                Err(format!("byte {offset} is cleared, the later write {newer} is lost"))
            }
            None => Err(format!("byte {offset} is {label:#x}, though no request cleared it")),
        }
    }
}

/// The label position of a guest address.
fn position(address: usize) -> usize {
    (address - super::memory::BASE) & 0xffff
}

/// What a read that has just completed left in the guest's memory.
pub fn check_read(scenario: &Scenario, ledger: &Ledger, memory: &Memory, number: usize) -> Checked {
    let plan = &scenario.plans[number];
    let look = Look::new(scenario, ledger, ledger.entries[number].before);
    for (at, &address) in plan.addresses.iter().enumerate() {
        let label = memory.get(address);
        let offset = plan.offset + at as u64;
        let mut verdict = look.check(offset, label);
        if verdict.is_err() && !plan.distinct {
            // Memory named more than once holds any of the bytes that belong there.
            let others = plan.addresses.iter().enumerate().filter(|(_, &other)| other == address);
            for (other, _) in others {
                if look.check(plan.offset + other as u64, label).is_ok() {
                    verdict = Ok(());
                }
            }
        }
        verdict.map_err(|why| format!("read {number}: {why}"))?;
    }
    Ok(())
}

/// The disk when everything is over.
pub fn check_disk(scenario: &Scenario, ledger: &Ledger, disk: &[Label]) -> Checked {
    let look = Look::new(scenario, ledger, ledger.completed);
    for (offset, &label) in disk.iter().take(ledger.length as usize).enumerate() {
        look.check(offset as u64, label).map_err(|why| format!("at the end: {why}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::memory::POISON;
    use super::super::scenario::one_segment;
    use super::*;
    use crate::{QueueConfig, Suspected};

    /// Writes of these ranges on a disk of 16 bytes with blocks of 4; two bytes of a block make a
    /// read-modify-write.
    fn scenario(writes: &[(u64, u64)]) -> Scenario {
        let config = QueueConfig {
            alignments: Alignments { request: 4, memory: 1, segment: 1 },
            max_transfer: 1 << 30,
            max_segments: 1024,
            depth: 64,
            last_unit: 0,
            last_block: u64::MAX,
            granule: 4,
            no_flush: false,
            no_merge: false,
            resize: false,
            unmap: false,
            discard_alignment: 4,
            dataless_max: 1 << 30,
            atomic_write_max: 0,
            endless: 0,
            suspected: Suspected::Nothing,
            copy_edges: false,
        };
        let mut scenario = Scenario::empty(vec![config], 16, 0);
        for &(start, end) in writes {
            let bytes = (end - start) as usize;
            let segments = one_segment(scenario.reserve(bytes, 1, 0), bytes);
            scenario.add(0, Op::Write, false, start, segments);
        }
        scenario
    }

    fn submit(ledger: &mut Ledger, scenario: &Scenario) {
        let number = ledger.entries.len();
        ledger.submitted(scenario);
        ledger.admitted(scenario, number, number as u64, 0);
        ledger.entries.last_mut().expect("just submitted").issued.fill(true);
    }

    fn succeed(ledger: &mut Ledger, scenario: &Scenario, number: usize) {
        ledger.completed(scenario, number, Ok(()), 0, false).expect("may succeed");
    }

    fn label(scenario: &Scenario, number: usize, offset: u64) -> Label {
        scenario.guest[scenario.plans[number].address_at(offset) - super::super::memory::BASE]
    }

    #[test]
    fn a_changed_neighbour_is_seen() {
        let scenario = scenario(&[(1, 2)]);
        let mut ledger = Ledger::new(16);
        submit(&mut ledger, &scenario);
        succeed(&mut ledger, &scenario, 0);
        let look = Look::new(&scenario, &ledger, ledger.completed);
        let ours = label(&scenario, 0, 1);
        assert_eq!(look.check(1, ours), Ok(()));
        assert_eq!(look.check(2, initial(2)), Ok(()));
        assert!(look.check(2, POISON).is_err());
        assert!(look.check(2, initial(3)).is_err());
        assert!(look.check(2, ours).is_err());
        assert!(look.check(1, initial(1)).is_err(), "the write itself is lost");
    }

    #[test]
    fn a_write_lost_to_an_earlier_one_that_it_conflicts_with_is_seen() {
        let scenario = scenario(&[(0, 3), (2, 4)]);
        let mut ledger = Ledger::new(16);
        submit(&mut ledger, &scenario);
        submit(&mut ledger, &scenario);
        succeed(&mut ledger, &scenario, 0);
        succeed(&mut ledger, &scenario, 1);
        let look = Look::new(&scenario, &ledger, ledger.completed);
        assert_eq!(look.check(2, label(&scenario, 1, 2)), Ok(()));
        assert!(look.check(2, label(&scenario, 0, 2)).is_err());
        assert!(look.check(3, initial(3)).is_err(), "the lost update");
    }

    #[test]
    fn order_holds_across_a_third_write_between_two() {
        // 0 and 2 are whole blocks and do not order each other; 1 conflicts with both.
        let scenario = scenario(&[(0, 4), (1, 5), (0, 4)]);
        let mut ledger = Ledger::new(16);
        (0..3).for_each(|_| submit(&mut ledger, &scenario));
        (0..3).for_each(|number| succeed(&mut ledger, &scenario, number));
        let look = Look::new(&scenario, &ledger, ledger.completed);
        assert_eq!(look.check(0, label(&scenario, 2, 0)), Ok(()));
        assert!(look.check(0, label(&scenario, 0, 0)).is_err());
    }

    #[test]
    fn whole_blocks_at_one_time_may_end_in_either_order() {
        let scenario = scenario(&[(0, 4), (0, 4)]);
        let mut ledger = Ledger::new(16);
        (0..2).for_each(|_| submit(&mut ledger, &scenario));
        (0..2).for_each(|number| succeed(&mut ledger, &scenario, number));
        let look = Look::new(&scenario, &ledger, ledger.completed);
        assert_eq!(look.check(0, label(&scenario, 0, 0)), Ok(()));
        assert_eq!(look.check(0, label(&scenario, 1, 0)), Ok(()));
        assert!(look.check(0, initial(0)).is_err());
    }

    #[test]
    fn a_read_that_began_before_a_write_ended_may_see_either_state() {
        let scenario = scenario(&[(0, 4), (0, 4)]);
        let mut ledger = Ledger::new(16);
        submit(&mut ledger, &scenario);
        succeed(&mut ledger, &scenario, 0);
        let over = ledger.completed;
        submit(&mut ledger, &scenario);
        let began_here = Look::new(&scenario, &ledger, over);
        assert_eq!(began_here.check(0, label(&scenario, 0, 0)), Ok(()));
        assert_eq!(began_here.check(0, label(&scenario, 1, 0)), Ok(()));
        assert!(began_here.check(0, initial(0)).is_err(), "a stale read");
    }

    #[test]
    fn a_write_without_io_has_no_effect() {
        let scenario = scenario(&[(1, 3)]);
        let mut ledger = Ledger::new(16);
        submit(&mut ledger, &scenario);
        ledger.entries[0].issued[1] = false;
        ledger.entries[0].errors.push(libc::EIO);
        ledger.completed(&scenario, 0, Err(libc::EIO), 0, false).expect("may fail");
        let look = Look::new(&scenario, &ledger, ledger.completed);
        assert_eq!(look.check(1, initial(1)), Ok(()), "failed writes need not have an effect");
        assert_eq!(look.check(1, label(&scenario, 0, 1)), Ok(()), "but may");
        assert!(look.check(2, label(&scenario, 0, 2)).is_err());
    }
}
