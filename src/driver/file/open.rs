//! Opening a file or block device: by path, from a caller's descriptor, or once more with other
//! flags. Ends with a readable descriptor of the right kind, or with words that say why not.

use std::cell::Cell;
use std::ffi::{c_int, CStr};
use std::os::fd::RawFd;

use crate::driver::identity::{identify, Identity};
use crate::driver::way::{Traveller, Wish};
use crate::driver::Alignments;
use crate::sys::{calls, Calls, Descriptor, Errno, Error};

/// What a handle's options say about its descriptors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    pub writable: bool,
    pub direct: bool,
    /// Buffered I/O will do where the file system has no O_DIRECT.
    pub buffered_ok: bool,
    pub create: bool,
    /// Writes may make the file longer.
    pub resize: bool,
    /// What the caller insists on, whatever the storage says; 0: probe.
    pub alignments: Alignments,
}

pub struct Opened {
    pub descriptor: Descriptor,
    pub identity: Identity,
    /// Whether O_DIRECT is in use; all handles of the object keep to that until this is dropped.
    pub way: Traveller,
    /// Whether further descriptors of this object may be for writing. Not if the caller's own
    /// descriptor was for reading only.
    pub may_write: bool,
}

/// Opens by path. Looks before it opens: opening a FIFO would wait, and a tape would rewind.
pub fn by_path(path: &CStr, options: &FileOptions) -> Result<Opened, Error> {
    let table = calls();
    let name = path.to_string_lossy();
    match Descriptor::open(table, path, libc::O_PATH) {
        Ok(look) => drop(identify(&look, &name)?),
        Err(libc::ENOENT) if options.create => {}
        Err(errno) => return Err(Error::new(errno, format!("{name}: cannot open"))),
    }
    let created = Cell::new(false);
    let open = |flags| {
        if !options.create {
            return Descriptor::open(table, path, flags);
        }
        match Descriptor::open(table, path, flags | libc::O_CREAT | libc::O_EXCL) {
            // The file is there. Or a symbolic link is, and nothing is where it leads to.
            Err(libc::EEXIST) => Descriptor::open(table, path, flags | libc::O_CREAT),
            // The kernel creates the file first, and then finds that it has no O_DIRECT.
            Err(libc::EINVAL) => {
                created.set(true);
                Err(libc::EINVAL)
            }
            result => result,
        }
    };
    let result = opened(&name, options, true, open, &[]);
    if result.is_err() && created.get() {
        remove_empty(table, path);
    }
    result.inspect(trust_no_cached_page)
}

/// Removes what a failed attempt to create left there, and nothing that others have put there.
fn remove_empty(table: &'static dyn Calls, path: &CStr) {
    let look = Descriptor::open(table, path, libc::O_PATH | libc::O_NOFOLLOW);
    let Ok(stat) = look.and_then(|look| look.fstat()) else { return };
    let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    if regular && stat.st_size == 0 && stat.st_nlink == 1 {
        let _ = table.unlink(path);
    }
}

/// Opens what a caller's descriptor refers to; the descriptor stays the caller's. Position and
/// flags are not shared with it, unless /proc is missing or does not let this process open the file
/// again.
pub fn by_fd(fd: RawFd, options: &FileOptions) -> Result<Opened, Error> {
    let table = calls();
    let name = format!("fd {fd}");
    let refuse = |errno, why| Err(Error::new(errno, format!("{name}: {why}")));
    let flags = match table.fcntl(fd, libc::F_GETFL, 0) {
        Ok(flags) => flags,
        Err(errno) => return refuse(errno, "no usable descriptor"),
    };
    if flags & libc::O_PATH != 0 {
        return refuse(libc::EBADF, "opened with O_PATH, not for reading");
    }
    match flags & libc::O_ACCMODE {
        libc::O_WRONLY => {
            return refuse(libc::EACCES, "opened for writing only, but blocks must be read too");
        }
        libc::O_RDONLY if options.writable => {
            return refuse(libc::EACCES, "opened for reading only");
        }
        _ => {}
    }
    let may_write = flags & libc::O_ACCMODE == libc::O_RDWR;
    let open = |wanted| Descriptor::reopen_raw(table, fd, wanted);
    let result = opened(&name, options, may_write, open, &[Spare { table, fd }]);
    result.inspect(trust_no_cached_page)
}

/// Throws away what the page cache has of a device, before a handle reads through the page cache.
/// Earlier direct writes may have left older pages there, if another program keeps the device open.
fn trust_no_cached_page(opened: &Opened) {
    if !opened.way.is_direct() && matches!(opened.identity, Identity::Device { .. }) {
        opened.descriptor.fadvise(libc::POSIX_FADV_DONTNEED);
    }
}

/// Opens the object of a driver once more; `spares` are the driver's descriptors.
pub fn again(
    descriptor: &Descriptor,
    path: Option<&CStr>,
    name: &str,
    options: &FileOptions,
    spares: &[Spare],
) -> Result<Opened, Error> {
    let identity = identify(descriptor, name)?;
    let open = |wanted| reopen(descriptor, path, identity, wanted);
    opened(name, options, true, open, spares)
}

/// Another open file of the object of `descriptor`: through /proc, or by its path where there is no
/// /proc and the path still leads there.
pub fn reopen(
    descriptor: &Descriptor,
    path: Option<&CStr>,
    identity: Identity,
    flags: c_int,
) -> Result<Descriptor, Errno> {
    let errno = match descriptor.reopen(flags) {
        Err(errno) if !is_shortage(errno) => errno,
        result => return result,
    };
    let leads_there = |descriptor: &Descriptor| identify(descriptor, "") == Ok(identity);
    let table = descriptor.calls();
    let Some(path) = path else { return Err(errno) };
    // Looks first, as `by_path` does.
    match Descriptor::open(table, path, libc::O_PATH) {
        Ok(look) if leads_there(&look) => {}
        _ => return Err(errno),
    }
    Descriptor::open(table, path, flags).ok().filter(leads_there).ok_or(errno)
}

/// Whether an errno says nothing about the file: it tells of a lack of descriptors or of memory.
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, libc::EMFILE | libc::ENFILE | libc::ENOMEM)
}

/// An open file that may be used as it is, where opening the object again is impossible: /proc is
/// missing, or the program has given up rights since.
#[derive(Clone, Copy)]
pub struct Spare {
    pub table: &'static dyn Calls,
    pub fd: RawFd,
}

impl Spare {
    pub fn of(descriptor: &Descriptor) -> Spare {
        Spare { table: descriptor.calls(), fd: descriptor.raw() }
    }

    /// Another descriptor of the same open file, if that is open in the way that `wanted` says:
    /// access and O_DIRECT. Not for writing with O_APPEND, which would turn every write into one at
    /// the end.
    pub fn duplicate(&self, wanted: c_int) -> Option<Descriptor> {
        let flags = self.table.fcntl(self.fd, libc::F_GETFL, 0).ok()?;
        let reads_only = wanted & libc::O_ACCMODE == libc::O_RDONLY;
        let enough = match flags & libc::O_ACCMODE {
            libc::O_RDWR => reads_only || flags & libc::O_APPEND == 0,
            access => access == libc::O_RDONLY && reads_only,
        };
        if !enough || (flags ^ wanted) & libc::O_DIRECT != 0 {
            return None;
        }
        Descriptor::duplicate_raw(self.table, self.fd).ok()
    }
}

/// Opens in the way that handles of this process go already. If there are none: with O_DIRECT if
/// that is wanted, and without if the file system has none and the caller allows that.
fn opened(
    name: &str,
    options: &FileOptions,
    may_write: bool,
    open: impl Fn(c_int) -> Result<Descriptor, Errno>,
    spares: &[Spare],
) -> Result<Opened, Error> {
    let (descriptor, direct) = opened_alone(name, options, &open, spares)?;
    let identity = identify(&descriptor, name)?;
    let either = !options.direct || options.buffered_ok;
    let way = Traveller::enter(identity, Wish { direct, either }).ok_or_else(|| {
        let why = "cannot open with O_DIRECT: this process has handles of it that go through the \
                   page cache, and a mixture of both would lose writes; close those handles, \
                   open them with BLKALIGN_O_DIRECT, or allow BLKALIGN_O_BUFFERED_OK here";
        Error::new(libc::EBUSY, format!("{name}: {why}"))
    })?;
    if way.is_direct() == direct {
        return Ok(Opened { descriptor, identity, way, may_write });
    }
    let wanted = flags(options, way.is_direct());
    let result = open(wanted).or_else(|errno| {
        let spare = || spares.iter().find_map(|spare| spare.duplicate(wanted));
        (!is_shortage(errno)).then(spare).flatten().ok_or(errno)
    });
    let descriptor = result.map_err(|errno| {
        let how = if way.is_direct() { "with" } else { "without" };
        let why = format!("this process uses it {how} O_DIRECT, and it cannot be opened that way");
        Error::new(errno, format!("{name}: {why}"))
    })?;
    if identify(&descriptor, name)? != identity {
        let words = format!("{name}: opening it again led to another file");
        return Err(Error::new(libc::ESTALE, words));
    }
    Ok(Opened { descriptor, identity, way, may_write })
}

fn flags(options: &FileOptions, direct: bool) -> c_int {
    let access = if options.writable { libc::O_RDWR } else { libc::O_RDONLY };
    if direct {
        access | libc::O_DIRECT
    } else {
        access
    }
}

/// Opens as if no other handle in this process had the object open; returns also whether with
/// O_DIRECT. Where the object can't be opened again a spare will do. The best spare is as wanted.
/// Next comes one without O_DIRECT where buffered I/O is allowed, or one that has O_DIRECT unasked.
fn opened_alone(
    name: &str,
    options: &FileOptions,
    open: impl Fn(c_int) -> Result<Descriptor, Errno>,
    spares: &[Spare],
) -> Result<(Descriptor, bool), Error> {
    let mut direct = options.direct;
    let mut result = open(flags(options, direct));
    if direct && matches!(result, Err(libc::EINVAL)) {
        if !options.buffered_ok {
            let why = "the file system has no O_DIRECT, and buffered I/O was not allowed";
            return Err(Error::new(libc::EINVAL, format!("{name}: {why}")));
        }
        direct = false;
        result = open(flags(options, false));
    }
    if result.as_ref().is_err_and(|errno| !is_shortage(*errno)) {
        let other = (!direct || options.buffered_ok).then_some(!direct);
        let kinds = [Some(direct), other].into_iter().flatten();
        let mut found = kinds.flat_map(|direct| {
            let wanted = flags(options, direct);
            let duplicates = spares.iter().filter_map(move |spare| spare.duplicate(wanted));
            duplicates.map(move |descriptor| (descriptor, direct))
        });
        if let Some((descriptor, is_direct)) = found.next() {
            direct = is_direct;
            result = Ok(descriptor);
        }
    }
    let descriptor = result.map_err(|errno| {
        let purpose = if options.writable { "for reading and writing" } else { "for reading" };
        let why = if spares.is_empty() || is_shortage(errno) { "" } else { NO_SPARE };
        Error::new(errno, format!("{name}: cannot open {purpose}{why}"))
    })?;
    Ok((descriptor, direct))
}

/// What a failure adds where a descriptor can't be opened again, and will not do as it is.
const NO_SPARE: &str =
    " again through /proc/self/fd, and the descriptor does not suffice (O_DIRECT, O_APPEND)";
