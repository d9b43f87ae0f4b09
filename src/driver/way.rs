//! Which way the handles of an object go: all of them with O_DIRECT, or all through the page
//! cache, at any one time.
//!
//! The two lose each other's bytes. A reader brings an old block into the page cache while a
//! direct write of that block is under way. After an asynchronous direct write to a block device
//! Linux leaves that page where it is. On a file Linux throws it away, but not as long as another
//! part of the same large folio waits to be written back. The next small write through the page
//! cache then reads the old page, changes a few bytes of it, and writes all of it back. No order
//! among our own requests helps, since the reader may be another program.
//!
//! So the first handle of an object decides. Who comes later and may go either way goes along;
//! who asked for O_DIRECT, and for nothing else, is refused while handles without it are open.
//! The last handle that is closed takes the decision with it.
//!
//! The lock guards the map; nothing else is locked, and no call is made, while it is held.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::file_open::Identity;
use crate::sync::Mutex;

/// Counts who goes a way; there is none without a traveller.
#[derive(Debug)]
pub struct Way {
    direct: bool,
    handles: usize,
}

pub static WAYS: LazyLock<Mutex<HashMap<Identity, Way>>> = LazyLock::new(Mutex::default);

/// One handle's part in the way of its object: as long as this lives nobody goes the other.
#[derive(Debug)]
pub struct Traveller {
    identity: Identity,
    direct: bool,
}

/// What a handle asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// O_DIRECT, if it comes first.
    pub direct: bool,
    /// Page cache or not, as the others do.
    pub either: bool,
}

impl Traveller {
    /// None: it asks for O_DIRECT alone, and others go through the page cache.
    pub fn enter(identity: Identity, wish: Wish) -> Option<Traveller> {
        let mut ways = WAYS.lock();
        let way = ways.entry(identity).or_insert(Way { direct: wish.direct, handles: 0 });
        if way.direct != wish.direct && !wish.either {
            return None;
        }
        way.handles += 1;
        Some(Traveller { identity, direct: way.direct })
    }

    pub fn is_direct(&self) -> bool {
        self.direct
    }
}

impl Drop for Traveller {
    fn drop(&mut self) {
        let mut ways = WAYS.lock();
        let Some(way) = ways.get_mut(&self.identity) else { return };
        way.handles -= 1;
        if way.handles == 0 {
            ways.remove(&self.identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: Wish = Wish { direct: true, either: false };
    const BUFFERED: Wish = Wish { direct: false, either: true };
    const EITHER: Wish = Wish { direct: true, either: true };

    /// An object that no other test knows.
    fn object(number: u64) -> Identity {
        Identity::File { dev: u64::MAX, ino: number }
    }

    fn enter(number: u64, wish: Wish) -> Option<Traveller> {
        Traveller::enter(object(number), wish)
    }

    #[test]
    fn the_first_handle_decides_and_who_may_goes_along() {
        let first = enter(1, DIRECT).unwrap();
        assert!(first.is_direct() && enter(1, BUFFERED).unwrap().is_direct());
        assert!(enter(1, EITHER).unwrap().is_direct() && enter(1, DIRECT).is_some());
        let other = enter(2, BUFFERED).unwrap();
        assert!(!other.is_direct() && !enter(2, EITHER).unwrap().is_direct());
        assert!(enter(2, DIRECT).is_none());
    }

    #[test]
    fn the_last_handle_takes_the_decision_with_it() {
        let (first, second) = (enter(3, BUFFERED), enter(3, EITHER));
        drop(first);
        assert!(enter(3, DIRECT).is_none());
        drop(second);
        assert!(enter(3, DIRECT).unwrap().is_direct());
    }

    #[test]
    fn of_two_who_come_at_once_one_decides_for_both() {
        for round in 0..2000 {
            let at_once = std::sync::Barrier::new(2);
            let come = |wish| {
                at_once.wait();
                let came = enter(4, wish);
                at_once.wait();
                came.map(|came| came.is_direct())
            };
            let (direct, buffered) = std::thread::scope(|scope| {
                let other = scope.spawn(|| come(BUFFERED));
                (come(DIRECT), other.join().unwrap())
            });
            let ways = [(Some(true), Some(true)), (None, Some(false))];
            assert!(ways.contains(&(direct, buffered)), "{round}: {direct:?}, {buffered:?}");
        }
        assert!(enter(4, DIRECT).is_some(), "nothing is left of them");
    }
}
