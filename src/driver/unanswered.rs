//! What code of the program was asked and has not answered: I/O of asynchronous drivers, questions
//! to notifiers. Each has a token, which is never used twice, so an answer that comes twice finds
//! nothing the second time.

use std::num::NonZeroU64;

/// Names what was asked; 0 is nothing.
pub type Token = NonZeroU64;

pub struct Unanswered<T> {
    /// By slot: its generation, and what was asked and has that place.
    pub slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Unanswered<T> {
    pub const fn new() -> Unanswered<T> {
        Unanswered { slots: Vec::new(), free: Vec::new() }
    }

    pub fn add(&mut self, asked: T) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (generation, place) = &mut self.slots[slot as usize];
        *generation = generation.wrapping_add(1);
        *place = Some(asked);
        let number = (u64::from(slot) + 1) << 32 | u64::from(*generation);
        NonZeroU64::new(number).expect("the slot is not 0")
    }

    /// None: this token names nothing, or it was answered.
    pub fn take(&mut self, token: Token) -> Option<T> {
        let slot = (token.get() >> 32).checked_sub(1)?;
        let (generation, place) = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        if u64::from(*generation) != token.get() & u64::from(u32::MAX) {
            return None;
        }
        let asked = place.take()?;
        self.free.push(slot as u32);
        Some(asked)
    }
}
