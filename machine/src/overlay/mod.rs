//! Overlays: a file on top of a backing object. What the file has is *there*, cluster by cluster;
//! the bytes of *absent* clusters are those of the backing object (`clusters/`). An absent
//! cluster is a larger block, whose edges come from another lane, `Lane::Backing`:
//!
//! - A *write* that covers only a part of an absent cluster keeps other writes out of that
//!   cluster. First the rest of the cluster, the *gaps*, is read from the backing object. Then
//!   the request is made wider: gap, the guest's bytes, gap are one write of whole clusters
//!   (`gaps.rs`). If a read of a gap fails nothing is written. If the write fails the cluster
//!   stays absent.
//! - A *zero write* first has such clusters copied up as they are, and goes the way of any other
//!   then. A *discard* leaves what it covers only a part of alone. Both make the absent clusters
//!   there that they have made zero as a whole.
//! - A *read* goes run by run: what is there comes from the file, the rest from the backing
//!   object (`reading.rs`). On a queue that keeps what it reads, whole clusters are read into
//!   scratch, and then written to the file from there (`copying.rs`), for the guest may change
//!   its own memory meanwhile. Such a read is entered among the writes, and keeps the others out
//!   of its clusters. When it starts, what earlier writes have brought is there and is not
//!   copied. So it never undoes a write. While there are notifiers (`announce/`) reads keep
//!   nothing: a notifier may read what it is asked about, and that must not wait for the change
//!   that waits for the answer. If it cannot write, the cluster stays absent, and the guest has
//!   its bytes all the same.
//! - A *fill* (`Op::Populate`) copies window by window. It leaves the trackers after each window
//!   and enters anew for the next, so it keeps writes out of one window only, and other requests
//!   have their turn (`filling.rs`).
//! - A *flush*, and a write with FUA, makes data durable, then the map, and is done then
//!   (`saving.rs`).
//!
//! To all requests whose clusters are there, and saved in the map, the overlay is a file like any
//! other: they go the short way.
//!
//! Example, with blocks of 512 and clusters of 4096, all absent. A write of [5000, 9000) claims
//! [4096, 12288), reads the gaps [4096, 5000) and [9000, 12288) from the backing object, and is
//! then a write of [4096, 12288), from scratch, the guest's memory and scratch. A read of [0,
//! 6000) after it has two I/Os: [0, 4096) from the backing object, [4096, 6144) from the file.

mod copying;
mod filling;
mod gaps;
mod reading;
mod saving;

pub use copying::Copying;
pub use gaps::Gaps;
pub use reading::{Next, Reading};
pub use saving::{Saver, Settled};

use crate::table::{Entry, Overlaid, Table};

impl<Q, T, S> Table<Q, T, S> {
    /// Whether it has to be asked which clusters are there, or saved.
    #[inline(always)]
    pub fn is_unsettled(&self) -> bool {
        self.overlay.as_ref().is_some_and(|clusters| !clusters.is_settled())
    }
}

impl<T> Entry<T> {
    /// The parts that a request of an overlay has besides its own.
    pub fn overlaid(&mut self) -> &mut Overlaid {
        self.overlaid.get_or_insert_with(Box::default)
    }
}
