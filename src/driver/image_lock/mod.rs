//! Image locks as QEMU takes them (block/file-posix.c): locks on single bytes of the file, which
//! need not exist. Byte 100 + n says "I use permission n", byte 200 + n says "I do not share
//! permission n", n being 0 to read what is consistent, 1 to write, 2 to write what is there
//! already, 3 to change the length. All are shared locks: by themselves they exclude no process. An
//! opener first takes its own locks, then looks whether others have locks that contradict these. Of
//! two openers that come at once at least one sees the other.
//!
//! | we | use | do not share | so we take | and no other may have |
//! |---|---|---|---|---|
//! | read | 0 | 1, 3 | 100, 201, 203 | 200, 101, 103 |
//! | write | 0, 1 | 1, 3 | 100, 101, 201, 203 | 200, 201, 101, 103 |
//! | resize | 0, 1, 3 | 1, 3 | 100, 101, 103, 201, 203 | 200, 201, 203, 101, 103 |
//!
//! Readers read what no process writes, as QEMU's guests do, and the QEMU tools that need the same.
//! There may be any number of readers. Like a guest of QEMU a writer lets in readers that content
//! themselves with whatever they find (`qemu-io -r -f raw`, `-U`).
//!
//! The locks belong to the file in this process: its handles share one set of locks, which has all
//! that any of the handles needs. The set hangs on an open file description of its own, so that no
//! close of another descriptor loses locks. A child after fork shares that description, and keeps
//! the locks if this process dies.
//!
//! A process that is killed may leave I/O of io_uring behind, which the end of the process does not
//! wait for: a block that was read before the process died, and is written after its successor has
//! written the same block. So each handle that writes takes the lock on byte 101 also on the open
//! file description that its I/O goes through. The kernel keeps that description as long as there
//! is I/O.
//!
//! Each `FileLocks` has a lock that guards which bytes are locked and for how many handles. It is
//! held during the system calls for that, which do not wait. The lock of the map is taken alone.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::identity::{identify, Identity};
use crate::log;
use crate::sys::{Descriptor, Errno, Error};

/// What a handle wants to do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Read = 0,
    Write = 1,
    /// Write, and change the length.
    Resize = 2,
}

const USES: [Use; 3] = [Use::Read, Use::Write, Use::Resize];

/// What each permission is, in the order of their numbers.
const PERMISSIONS: [&str; 4] = ["reading", "writing", "rewriting", "resizing"];

/// A set of permissions, one bit each.
type Permissions = u8;
const READ: Permissions = 1 << 0;
const WRITE: Permissions = 1 << 1;
const RESIZE: Permissions = 1 << 3;

/// Bytes of the file: bit n stands for byte 100 + n, bit 4 + n for byte 200 + n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Bytes(u8);

impl Bytes {
    fn of(used: Permissions, not_shared: Permissions) -> Bytes {
        Bytes(used | not_shared << 4)
    }

    /// What this use takes.
    fn taken_by(how: Use) -> Bytes {
        Bytes::of(how.uses(), how.does_not_share())
    }

    /// What no other process may have beside this use.
    fn against(how: Use) -> Bytes {
        Bytes::of(how.does_not_share(), how.uses())
    }

    fn and(self, other: Bytes) -> Bytes {
        Bytes(self.0 | other.0)
    }

    fn without(self, other: Bytes) -> Bytes {
        Bytes(self.0 & !other.0)
    }

    const ALL: Bytes = Bytes(0xff);
    /// Byte 101.
    const WRITES: Bytes = Bytes(WRITE);

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each byte of the set by itself.
    fn each(self) -> impl Iterator<Item = Bytes> {
        (0..8).map(|bit| Bytes(1 << bit)).filter(move |byte| self.0 & byte.0 != 0)
    }

    /// Where in the file the byte is; the set has only one.
    fn position(self) -> u8 {
        match self.0.trailing_zeros() as u8 {
            bit @ 0..4 => 100 + bit,
            bit => 200 + bit - 4,
        }
    }

    /// What another process's lock on this byte means.
    fn meaning(self) -> String {
        let position = self.position();
        let permission = PERMISSIONS[usize::from(position % 100)];
        let does = if position < 200 { "uses the file for" } else { "does not share" };
        format!("byte {position}: another process {does} {permission}")
    }
}

impl Use {
    fn uses(self) -> Permissions {
        match self {
            Use::Read => READ,
            Use::Write => READ | WRITE,
            Use::Resize => READ | WRITE | RESIZE,
        }
    }

    /// No other process may resize: the length is looked at when the file is opened, and from then
    /// on only this process may change it.
    fn does_not_share(self) -> Permissions {
        WRITE | RESIZE
    }

    fn words(self) -> &'static str {
        match self {
            Use::Read => "reading",
            Use::Write => "writing",
            Use::Resize => "writing and resizing",
        }
    }
}

static FILES: Mutex<BTreeMap<Identity, Weak<FileLocks>>> = Mutex::new(BTreeMap::new());

/// The locks of one file.
#[derive(Default)]
struct FileLocks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the locks hang, as long as there are any.
    descriptor: Option<Descriptor>,
    taken: Bytes,
    /// How many handles there are of each use.
    handles: [usize; 3],
}

/// One handle's share, given back when dropped.
pub struct ImageLock {
    file: Arc<FileLocks>,
    how: Use,
    name: String,
    /// Of a handle that writes: the open file description of its I/O.
    io: Option<Descriptor>,
}

/// Takes what `how` needs on the file of `descriptor`, beyond what this process has already.
/// EAGAIN: another process has what contradicts it; then nothing has changed.
pub fn take(
    descriptor: &Descriptor,
    identity: Identity,
    name: &str,
    how: Use,
) -> Result<ImageLock, Error> {
    let file = locks_of(identity);
    file.state.lock().take(descriptor, identity, name, how)?;
    let mut lock = ImageLock { file, how, name: name.to_owned(), io: None };
    if how != Use::Read {
        lock.io = Some(lock_io(descriptor, name)?);
    }
    log::info!("{name}: image locks taken for {}", how.words());
    Ok(lock)
}

/// Locks the open file description of a writer's I/O: as long as there is I/O on it, an opener that
/// looks finds a writer.
fn lock_io(descriptor: &Descriptor, name: &str) -> Result<Descriptor, Error> {
    let io = Descriptor::duplicate_raw(descriptor.calls(), descriptor.raw()).map_err(|errno| {
        Error::new(errno, format!("{name}: cannot duplicate its descriptor for image locks"))
    })?;
    let locked = io.lock_byte(Bytes::WRITES.position(), true);
    locked.map_err(|errno| refused("cannot lock", Bytes::WRITES, name, errno))?;
    Ok(io)
}

fn locks_of(identity: Identity) -> Arc<FileLocks> {
    let mut files = FILES.lock();
    if let Some(file) = files.get(&identity).and_then(Weak::upgrade) {
        return file;
    }
    files.retain(|_, file| file.strong_count() > 0);
    let file = Arc::new(FileLocks::default());
    files.insert(identity, Arc::downgrade(&file));
    file
}

impl Drop for ImageLock {
    fn drop(&mut self) {
        // This lock first. Once the shared ones are given back, another handle of this process
        // would take it for that of another process.
        let io_done = self.io.as_ref().map_or(Ok(()), |io| unlock(io, Bytes::WRITES));
        let given_back = self.file.state.lock().give_back(self.how);
        match io_done.and(given_back) {
            Ok(()) => log::info!("{}: image locks for {} released", self.name, self.how.words()),
            Err(error) => log::warning!("{}: {error}", self.name),
        }
    }
}

impl State {
    fn take(
        &mut self,
        opened: &Descriptor,
        identity: Identity,
        name: &str,
        how: Use,
    ) -> Result<(), Error> {
        let fresh = Bytes::taken_by(how).without(self.taken);
        if !fresh.is_empty() {
            let descriptor = match self.descriptor.take() {
                Some(descriptor) => descriptor,
                None => open(opened, identity, name)?,
            };
            // Looks only for bytes that no handle of this process has looked for before. Since then
            // openers in other processes have found our locks. So the I/O of our own handles, which
            // is locked as well, is not taken for another process's.
            let against = Bytes::against(how).without(self.all(Bytes::against));
            let result = take_and_look(&descriptor, fresh, against, name);
            if result.is_err() {
                let _ = unlock(&descriptor, fresh);
            } else {
                self.taken = self.taken.and(fresh);
            }
            // If nothing is taken the descriptor is closed, and with it goes what may be left on
            // it.
            self.descriptor = (!self.taken.is_empty()).then_some(descriptor);
            result?;
        }
        self.handles[how as usize] += 1;
        Ok(())
    }

    /// What `of` says of each use that there is.
    fn all(&self, of: fn(Use) -> Bytes) -> Bytes {
        let uses = USES.into_iter().filter(|&how| self.handles[how as usize] > 0);
        uses.map(of).fold(Bytes::default(), Bytes::and)
    }

    /// Keeps what the handles that are left need.
    fn give_back(&mut self, how: Use) -> Result<(), Error> {
        self.handles[how as usize] -= 1;
        let needed = self.all(Bytes::taken_by);
        let Some(descriptor) = &self.descriptor else { return Ok(()) };
        // Not left to the close below: a child after fork may have the descriptor, too. The last
        // handle unlocks all bytes, in case one could not be unlocked before.
        let taken = if needed.is_empty() { Bytes::ALL } else { self.taken };
        let result = unlock(descriptor, taken.without(needed));
        self.taken = needed;
        if needed.is_empty() {
            self.descriptor = None;
        }
        result
    }
}

/// Opens the description that the locks hang on. For reading: shared locks need no more.
fn open(opened: &Descriptor, identity: Identity, name: &str) -> Result<Descriptor, Error> {
    let descriptor = opened
        .reopen(libc::O_RDONLY)
        // There is no /proc, or the program has no rights any more. Then the handle's own
        // description is used. It is as private, and the duplicate keeps it open when the handle
        // goes.
        .or_else(|_| Descriptor::duplicate_raw(opened.calls(), opened.raw()))
        .map_err(|errno| Error::new(errno, format!("{name}: cannot open it for image locks")))?;
    if identify(&descriptor, name)? != identity {
        let words = format!("{name}: opening it for image locks led to another file");
        return Err(Error::new(libc::ESTALE, words));
    }
    Ok(descriptor)
}

fn take_and_look(
    descriptor: &Descriptor,
    fresh: Bytes,
    against: Bytes,
    name: &str,
) -> Result<(), Error> {
    for byte in fresh.each() {
        descriptor.lock_byte(byte.position(), true).map_err(|errno| {
            let errno = if errno == libc::EACCES { libc::EAGAIN } else { errno };
            refused("cannot lock", byte, name, errno)
        })?;
    }
    for byte in against.each() {
        let locked = descriptor.is_byte_locked_elsewhere(byte.position());
        if locked.map_err(|errno| refused("cannot examine", byte, name, errno))? {
            return Err(Error::new(libc::EAGAIN, format!("{name}: {}", byte.meaning())));
        }
    }
    Ok(())
}

fn refused(what: &str, byte: Bytes, name: &str, errno: Errno) -> Error {
    let why = match errno {
        libc::EAGAIN => ": another process holds an exclusive lock on it",
        // Kernels and file systems that do not know these locks answer like this.
        libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP => {
            ": the kernel or the file system has no open file description locks (OFD)"
        }
        libc::ENOLCK => ": the system or the file server grants no locks",
        _ => "",
    };
    let errno = if matches!(errno, libc::EINVAL | libc::ENOSYS) { libc::ENOTSUP } else { errno };
    Error::new(errno, format!("{name}: {what} byte {}{why}", byte.position()))
}

/// Unlocks each of `bytes`, also if one before it cannot be unlocked.
fn unlock(descriptor: &Descriptor, bytes: Bytes) -> Result<(), Error> {
    let mut result = Ok(());
    for byte in bytes.each() {
        if let Err(errno) = descriptor.lock_byte(byte.position(), false) {
            let words = format!("byte {} could not be unlocked", byte.position());
            result = Err(Error::new(errno, words));
        }
    }
    result
}
