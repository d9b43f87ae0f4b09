//! What the library has at a moment, in all of the process: counted by what proves that it gives
//! everything back. The product counts none of this.

use std::sync::Weak;

use crate::node::registry::NODES;

/// How many storage objects have a node.
pub fn open_nodes() -> usize {
    NODES.lock().values().filter(|node| Weak::strong_count(node) > 0).count()
}

/// How many objects have a way: by O_DIRECT, or through the page cache.
#[cfg(feature = "simulation")]
pub fn open_ways() -> usize {
    crate::driver::way::WAYS.lock().len()
}

/// How many answers asynchronous drivers still owe.
#[cfg(feature = "simulation")]
pub fn answers_pending() -> usize {
    let pending = crate::driver::callbacks::PENDING.lock();
    pending.slots.iter().filter(|(_, place)| place.is_some()).count()
}

/// 1 while the pool that handles share exists.
#[cfg(feature = "simulation")]
pub fn shared_pools() -> usize {
    usize::from(crate::handle::pools::SHARED.lock().strong_count() > 0)
}
