//! Descriptors that a frontend gives. Whoever made one decides what happens when it is used: a
//! write to a pipe may block, and a file of FUSE waits for its server in every call, in fstat and
//! close even, which no signal ends. So each is looked at, only by calls that wait for nobody,
//! before it is used; what is not of the kind that its message wants is closed where nobody waits.

use std::fs;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use crate::report;

/// How long closing is waited for: for others, who count our descriptors.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// Most threads that hang in closing at a time.
const CLOSING_MAX: usize = 64;
/// File systems on this machine's disks, though they have no device number of a disk.
const LOCAL_SYSTEMS: [&str; 4] = ["btrfs", "bcachefs", "zfs", "overlay"];

/// An eventfd: of the descriptors that threads wake each other with, the one of which everything is
/// known.
pub fn is_eventfd(fd: RawFd) -> bool {
    match fs::read_link(format!("/proc/self/fd/{fd}")) {
        Ok(name) => name.as_os_str() == "anon_inode:[eventfd]",
        Err(_) => is_like_an_eventfd(fd).unwrap_or(false),
    }
}

/// Without /proc: all anonymous inodes are one, and of those that may be written to or waited for
/// only epoll waits for others.
fn is_like_an_eventfd(fd: RawFd) -> Result<bool> {
    // SAFETY: makes a descriptor, which nobody else has.
    let ours = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if ours < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: as above.
    let ours = unsafe { OwnedFd::from_raw_fd(ours) };
    if Known::of(ours.as_raw_fd())?.inode != Known::of(fd)?.inode {
        return Ok(false);
    }
    let event = std::ptr::null_mut();
    // SAFETY: no epoll has `ours`, so nothing is removed.
    let result = unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_DEL, ours.as_raw_fd(), event) };
    Ok(result < 0 && Error::last_os_error().raw_os_error() == Some(libc::EINVAL))
}

/// What can be mapped without waiting for anybody: a memfd, a file of tmpfs or hugetlbfs; an
/// ordinary file of a file system on a disk of this machine.
pub fn is_memory(fd: RawFd) -> bool {
    // SAFETY: asks for an integer; no file system is asked.
    if unsafe { libc::fcntl(fd, libc::F_GET_SEALS) } >= 0 {
        return true;
    }
    let Ok(known) = Known::of(fd) else { return false };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    known.is_file && waits_for_nobody(known.device, &mounts)
}

fn waits_for_nobody(device: (u32, u32), mounts: &str) -> bool {
    let device_name = format!("{}:{}", device.0, device.1);
    let system = mounts.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        (mount.split(' ').nth(2)? == device_name).then_some(system)
    });
    match system.and_then(|system| system.split(' ').next()) {
        // FUSE, too, may be on a disk.
        Some(name) if device.0 != 0 => !name.starts_with("fuse"),
        Some(name) => LOCAL_SYSTEMS.contains(&name),
        // Mounted elsewhere.
        None => device.0 != 0,
    }
}

/// What is known of a file without asking its file system.
struct Known {
    is_file: bool,
    /// Major and minor number of the device that its file system is on.
    device: (u32, u32),
    inode: (u32, u32, u64),
}

impl Known {
    fn of(fd: RawFd) -> Result<Known> {
        let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
        // SAFETY: integers only, for which zeros are fine.
        let mut data: libc::statx = unsafe { std::mem::zeroed() };
        let mask = libc::STATX_TYPE | libc::STATX_INO;
        // SAFETY: both live through the call.
        if unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, &mut data) } < 0 {
            return Err(Error::last_os_error());
        }
        let device = (data.stx_dev_major, data.stx_dev_minor);
        Ok(Known {
            is_file: u32::from(data.stx_mode) & libc::S_IFMT == libc::S_IFREG,
            device,
            inode: (device.0, device.1, data.stx_ino),
        })
    }
}

/// A stream to another process, or to ourselves.
pub fn is_socket(fd: RawFd) -> bool {
    let option = |name| {
        let mut value: libc::c_int = -1;
        let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
        let to = (&raw mut value).cast();
        // SAFETY: an integer, and its size.
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, to, &mut bytes) };
        value
    };
    (option(libc::SO_DOMAIN), option(libc::SO_TYPE)) == (libc::AF_UNIX, libc::SOCK_STREAM)
}

/// Closes what may block when it is closed; waits for it only a moment.
pub fn close(descriptors: Vec<OwnedFd>) {
    static CLOSING: AtomicUsize = AtomicUsize::new(0);
    if descriptors.is_empty() {
        return;
    }
    let (sender, receiver) = channel();
    let (done, wait) = channel();
    let thread = (CLOSING.load(Ordering::Relaxed) < CLOSING_MAX).then(|| {
        Builder::new().name("closing".into()).spawn(move || {
            drop::<std::result::Result<Vec<OwnedFd>, _>>(receiver.recv());
            CLOSING.fetch_sub(1, Ordering::Relaxed);
            let _ = done.send(());
        })
    });
    if !matches!(thread, Some(Ok(_))) {
        report::say("descriptors of a frontend stay open: closing others hangs");
        return std::mem::forget(descriptors);
    }
    CLOSING.fetch_add(1, Ordering::Relaxed);
    let _ = sender.send(descriptors);
    let _ = wait.recv_timeout(CLOSE_PATIENCE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn made(fd: RawFd) -> OwnedFd {
        assert!(fd >= 0);
        // SAFETY: just made.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    #[test]
    fn an_eventfd_is_told_from_all_else_with_and_without_proc() {
        let (pipe, _) = std::io::pipe().unwrap();
        // SAFETY: each makes a descriptor, which nobody else has.
        let (eventfd, epoll, memory) = unsafe {
            let memory = libc::memfd_create(c"test".as_ptr(), 0);
            (made(libc::eventfd(7, 0)), made(libc::epoll_create1(0)), made(memory))
        };
        assert!(is_eventfd(eventfd.as_raw_fd()));
        assert!(is_like_an_eventfd(eventfd.as_raw_fd()).unwrap());
        let others = [epoll.as_raw_fd(), memory.as_raw_fd(), pipe.as_raw_fd()];
        for other in others {
            assert!(!is_eventfd(other), "{other}");
            assert!(!is_like_an_eventfd(other).unwrap(), "{other}");
        }
        assert!(!is_eventfd(-1));
    }

    #[test]
    fn memory_is_what_waits_for_nobody() {
        // SAFETY: makes a descriptor, which nobody else has.
        let memfd = unsafe { made(libc::memfd_create(c"test".as_ptr(), 0)) };
        assert!(is_memory(memfd.as_raw_fd()));
        let (pipe, _) = std::io::pipe().unwrap();
        assert!(!is_memory(pipe.as_raw_fd()));
        let others = ["/dev/zero", "/proc/self/status", "/"];
        for other in others {
            assert!(!is_memory(File::open(other).unwrap().as_raw_fd()), "{other}");
        }
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      23 22 0:35 / /mnt rw - fuse.sshfs me@far rw\n\
                      24 22 0:36 / /srv rw - nfs4 far:/srv rw\n\
                      25 22 0:37 / /home rw - btrfs /dev/sdb rw\n\
                      26 22 8:17 / /ntfs rw - fuseblk /dev/sdb1 rw\n";
        let answers = [
            ((8, 1), true),
            ((0, 35), false),
            ((0, 36), false),
            ((0, 37), true),
            ((8, 17), false),
            ((8, 33), true),
            ((0, 99), false),
        ];
        for (device, answer) in answers {
            assert_eq!(waits_for_nobody(device, mounts), answer, "{device:?}");
        }
    }
}
