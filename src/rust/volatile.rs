//! Memory of the crate `vm-memory`: a guest's, which the guest may use at any time.

use std::fmt;
use std::io;

use smallvec::SmallVec;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::volatile_memory::{PtrGuard, PtrGuardMut, VolatileSlice};

use super::error::errno_of;
use super::open_handle::Call;
use super::requests::{Asker, Keeps};
use super::{Disk, Error, Flags, Queue};
use crate::driver::Op;
use crate::sys;

/// With feature `vm-memory`: the memory of one request, as the closure of [`Queue::read_volatile`]
/// or [`Queue::write_volatile`] names it, one slice after the other.
pub struct VolatileSlices<'m> {
    reads: bool,
    places: SmallVec<[(usize, usize); 4]>,
    guards: SmallVec<[Guard; 4]>,
    bitmaps: Vec<Box<dyn Dirty + 'm>>,
}

/// Keeps the memory at its address.
enum Guard {
    Read(#[allow(dead_code, reason = "kept for its drop")] PtrGuard),
    Write(#[allow(dead_code, reason = "kept for its drop")] PtrGuardMut),
}

/// A bitmap of pages that were written, for a part of the memory.
trait Dirty: Send {
    fn mark(&self);
}

struct Whole<S> {
    bitmap: S,
    bytes: usize,
}

impl<S: BitmapSlice + Send> Dirty for Whole<S> {
    fn mark(&self) {
        self.bitmap.mark_dirty(0, self.bytes);
    }
}

impl<'m> VolatileSlices<'m> {
    /// Adds a slice.
    pub fn push<S: BitmapSlice + Send + 'm>(&mut self, slice: VolatileSlice<'m, S>) {
        let (guard, address) = guard(&slice, self.reads);
        self.places.push((address, slice.len()));
        self.guards.push(guard);
        // A bitmap without state marks nothing.
        if self.reads && size_of::<S>() > 0 {
            let bitmap = slice.bitmap().clone();
            self.bitmaps.push(Box::new(Whole { bitmap, bytes: slice.len() }));
        }
    }
}

impl fmt::Debug for VolatileSlices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.places).finish()
    }
}

/// `reads`: the storage is read, so the memory is written.
fn guard<S: BitmapSlice>(slice: &VolatileSlice<'_, S>, reads: bool) -> (Guard, usize) {
    if reads {
        let guard = slice.ptr_guard_mut();
        let address = guard.as_ptr().expose_provenance();
        return (Guard::Write(guard), address);
    }
    let guard = slice.ptr_guard();
    let address = guard.as_ptr().expose_provenance();
    (Guard::Read(guard), address)
}

/// What a request on volatile memory keeps. The fields are dropped in this order: the slices before
/// what they borrow from.
pub struct Kept {
    slices: VolatileSlices<'static>,
    _memory: Box<dyn Send>,
}

// SAFETY: the memory and the bitmaps are Send; guards are pointers into that memory, and nothing
// is done with them but dropping.
unsafe impl Send for Kept {}

impl Kept {
    pub fn request_is_over(&self) {
        self.slices.bitmaps.iter().for_each(|bitmap| bitmap.mark());
    }
}

/// With feature `vm-memory`.
impl Disk {
    /// Fills `slices`, one after the other, with what lies at `offset`, and marks them dirty.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-vol-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
    /// let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
    /// let disk = blkalign::OpenOptions::new().open(&path)?;
    /// disk.read_volatile_at(&[memory.get_slice(GuestAddress(100), 512).unwrap()], 1000)?;
    /// assert_eq!(memory.read_obj::<u8>(GuestAddress(611)).unwrap(), 7);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn read_volatile_at<S: BitmapSlice>(
        &self,
        slices: &[VolatileSlice<'_, S>],
        offset: u64,
    ) -> Result<(), Error> {
        let guards: Vec<_> = slices.iter().map(|slice| guard(slice, true)).collect();
        let places = guards.iter().zip(slices).map(|((_, address), it)| (*address, it.len()));
        let result = self.run_on(Op::Read, Flags::empty(), offset, places);
        slices.iter().for_each(|slice| slice.bitmap().mark_dirty(0, slice.len()));
        result
    }

    /// Writes `slices`, one after the other, to `offset`.
    pub fn write_volatile_at<S: BitmapSlice>(
        &self,
        slices: &[VolatileSlice<'_, S>],
        offset: u64,
        flags: Flags,
    ) -> Result<(), Error> {
        let guards: Vec<_> = slices.iter().map(|slice| guard(slice, false)).collect();
        let places = guards.iter().zip(slices).map(|((_, address), it)| (*address, it.len()));
        self.run_on(Op::Write, flags, offset, places)
    }
}

/// With feature `vm-memory`.
impl Queue {
    /// Queues a read into a guest's memory, and marks that dirty when the request is over. The
    /// request keeps `memory` (an `Arc` of it, or a guard of `GuestMemoryAtomic`) until then;
    /// `slices` names the parts of it, and how it fails, if it does, is how this call fails.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("blkalign-qvol-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 8192]).unwrap();
    /// use std::io;
    /// use std::sync::Arc;
    /// use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
    /// let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
    /// let memory = Arc::new(memory);
    /// let queue = blkalign::OpenOptions::new().open(&path)?.queue()?;
    /// let chain = [(GuestAddress(0), 512), (GuestAddress(4096), 512)];
    /// queue.read_volatile(1000, memory.clone(), 1, |memory, slices| {
    ///     for (address, bytes) in chain {
    ///         slices.push(memory.get_slice(address, bytes).map_err(io::Error::other)?);
    ///     }
    ///     Ok(())
    /// })?;
    /// queue.poll(None, |_, result| assert_eq!(result, Ok(())))?;
    /// assert_eq!(memory.read_obj::<u8>(GuestAddress(4607)).unwrap(), 7);
    /// # std::fs::remove_file(&path).unwrap();
    /// # Ok::<(), blkalign::Error>(())
    /// ```
    pub fn read_volatile<M: Send + 'static>(
        &self,
        offset: u64,
        memory: M,
        user_data: u64,
        slices: impl for<'m> FnOnce(&'m M, &mut VolatileSlices<'m>) -> io::Result<()>,
    ) -> Result<u64, Error> {
        self.start_volatile(Op::Read, Flags::empty(), offset, memory, user_data, slices)
    }

    /// Queues a write of a guest's memory, as `read_volatile` a read. If the guest changes the
    /// memory meanwhile, either bytes may be written.
    pub fn write_volatile<M: Send + 'static>(
        &self,
        offset: u64,
        memory: M,
        flags: Flags,
        user_data: u64,
        slices: impl for<'m> FnOnce(&'m M, &mut VolatileSlices<'m>) -> io::Result<()>,
    ) -> Result<u64, Error> {
        self.start_volatile(Op::Write, flags, offset, memory, user_data, slices)
    }

    fn start_volatile<M: Send + 'static>(
        &self,
        op: Op,
        flags: Flags,
        offset: u64,
        memory: M,
        user_data: u64,
        name: impl for<'m> FnOnce(&'m M, &mut VolatileSlices<'m>) -> io::Result<()>,
    ) -> Result<u64, Error> {
        let kept = kept(memory, op == Op::Read, name)?;
        let places = kept.slices.places.iter().copied();
        let call = Call::with_memory(op, flags.bits(), offset, places)?;
        self.start(call, Asker::Closure { user_data }, Keeps::Memory(Box::new(kept)))
            .map(|(_, id)| id)
            .map_err(|(error, _)| error)
    }
}

fn kept<M: Send + 'static>(
    memory: M,
    reads: bool,
    name: impl for<'m> FnOnce(&'m M, &mut VolatileSlices<'m>) -> io::Result<()>,
) -> Result<Kept, Error> {
    // Before the slices, so that it is dropped after them if the closure panics.
    let memory = Shared::new(memory);
    let mut slices = VolatileSlices {
        reads,
        places: SmallVec::new(),
        guards: SmallVec::new(),
        bitmaps: Vec::new(),
    };
    // SAFETY: `Kept` has the memory longer than the slices, at one address, and nobody reaches it
    // there. The closure takes any lifetime, so it keeps nothing of this one but in `slices`.
    let borrowed: &'static M = unsafe { memory.get() };
    let named = name(borrowed, &mut slices);
    let kept = Kept { slices, _memory: Box::new(memory) };
    named.map_err(|error| {
        Error::from(sys::Error::new(errno_of(&error), format!("naming memory: {error}")))
    })?;
    Ok(kept)
}

/// A box that may be moved while what is inside is borrowed.
struct Shared<M>(*mut M);

// SAFETY: as a box.
unsafe impl<M: Send> Send for Shared<M> {}

impl<M> Shared<M> {
    fn new(inside: M) -> Shared<M> {
        Shared(Box::into_raw(Box::new(inside)))
    }

    /// # Safety
    ///
    /// The reference is not used after the box is dropped.
    unsafe fn get<'a>(&self) -> &'a M {
        // SAFETY: the box's own pointer, and nobody makes another reference.
        unsafe { &*self.0 }
    }
}

impl<M> Drop for Shared<M> {
    fn drop(&mut self) {
        // SAFETY: the pointer of a box, which is dropped once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}
