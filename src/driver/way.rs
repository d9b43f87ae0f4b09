//! Which way the handles of an object go: all of them with O_DIRECT, or all through the page
//! cache, at any one time.
//!
//! Side by side the two ways lose bytes. A reader brings an old block into the page cache while a
//! direct write of that block is under way. After an asynchronous direct write to a block device
//! Linux leaves that page where it is. On a file Linux throws it away, but not as long as another
//! part of the same large folio waits to be written back. The next small write through the page
//! cache then reads the old page, changes a few bytes of it, and writes all of it back. No order
//! among our own requests helps, since the reader may be another program.
//!
//! So the first handle of an object decides. A later handle that may go either way goes along. A
//! handle that asks for O_DIRECT, and for nothing else, is refused while handles without it are
//! open. When the last handle is closed the decision is forgotten.
//!
//! The lock guards the map; nothing else is locked, and no call is made, while it is held.

use std::collections::BTreeMap;

use super::identity::Identity;
use crate::sync::Mutex;

/// Counts the handles that go one way. Without a handle there is no way.
#[derive(Debug)]
pub struct Way {
    direct: bool,
    handles: usize,
}

pub static WAYS: Mutex<BTreeMap<Identity, Way>> = Mutex::new(BTreeMap::new());

/// One handle's part in the way of its object: as long as this lives no handle goes the other way.
#[derive(Debug)]
pub struct Traveller {
    identity: Identity,
    direct: bool,
}

/// What a handle asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// With O_DIRECT, if this handle is the first of the object.
    pub direct: bool,
    /// The handle goes along with the others, through the page cache or not.
    pub either: bool,
}

impl Traveller {
    /// None: the handle asks for O_DIRECT alone, and others go through the page cache.
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
#[path = "way_tests.rs"]
mod tests;
