//! What a single request asks for beside its bytes.

use crate::header::*;

bitflags::bitflags! {
    /// What a single request asks for beside its bytes.
    ///
    /// ```
    /// use blkalign::Flags;
    /// let flags = Flags::MAY_UNMAP | Flags::NO_FALLBACK;
    /// assert!(flags.contains(Flags::MAY_UNMAP));
    /// assert!(Flags::empty().is_empty());
    /// ```
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u32 {
        /// The write is on stable storage when the request is over.
        const FUA = BLKALIGN_REQ_FUA;
        /// Keeps out every overlapping request, reads too, while this one runs.
        const SERIALISING = BLKALIGN_REQ_SERIALISING;
        /// EBUSY instead of waiting for an overlapping request.
        const NO_WAIT = BLKALIGN_REQ_NO_WAIT;
        /// A zero write may deallocate.
        const MAY_UNMAP = BLKALIGN_REQ_MAY_UNMAP;
        /// A zero write fails with ENOTSUP, and nothing is written, where whole blocks would have
        /// to be written as zeros.
        const NO_FALLBACK = BLKALIGN_REQ_NO_FALLBACK;
        /// The request's memory lies in a region that [`Queue::register`](crate::Queue::register)
        /// got.
        const REGISTERED_BUF = BLKALIGN_REQ_REGISTERED_BUF;
    }
}
