//! The byte model: what a byte of the disk may be when somebody looks at it.
//!
//! Who looks may see the value of a write that was submitted by then, or the initial one, unless
//! a write that came after it had succeeded before he began to look. Writes that failed may have
//! had an effect, but only where I/O was issued for them.

use super::ledger::{bit, members, Checked, Ledger, Set};
use super::memory::{initial, source, Label, Memory};
use super::scenario::Scenario;
use crate::driver::Op;

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
            .filter(|&number| scenario.plans[number].op == Op::Write)
            .fold(0, |set, number| set | bit(number));
        Look { scenario, ledger, must_see: writes }
    }

    /// Whether he may see `label` at `offset`.
    pub fn check(&self, offset: u64, label: Label) -> Checked {
        let covering = members(self.must_see)
            .filter(|&number| self.scenario.plans[number].covers(offset))
            .fold(0, |set, number| set | bit(number));
        let Some(writer) = source(label) else {
            if label != initial(offset) {
                return Err(format!("byte {offset} is {label:#x}, which nobody wrote there"));
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
}

/// The label position of a guest address.
fn position(address: usize) -> usize {
    (address - super::memory::BASE) & 0xffff
}

/// What a read that has just completed left in the guest's memory.
pub fn check_read(scenario: &Scenario, ledger: &Ledger, memory: &Memory, number: usize) -> Checked {
    let plan = &scenario.plans[number];
    let look = Look::new(scenario, ledger, ledger.entries[number].over);
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
    for (offset, &label) in disk.iter().enumerate() {
        look.check(offset as u64, label).map_err(|why| format!("at the end: {why}"))?;
    }
    Ok(())
}
