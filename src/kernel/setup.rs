//! Asks the kernel for a ring, and says why where it gives none.

use io_uring::IoUring;

use crate::log;
use crate::sys::{calls, Errno, Error, Outside};

/// More than there are I/Os at the storage. The kernel bounds the number by RLIMIT_NPROC.
const WORKERS_MAX: u32 = 1 << 16;

/// A ring for at least `entries` I/Os at once. The kernel closes it on exec. `cooperative`: the
/// kernel may wait with completions until the submitting thread enters it by itself.
pub fn open(entries: u32, cooperative: bool) -> Result<IoUring, Error> {
    let mut builder = IoUring::builder();
    // A child after fork does not get the ring's memory: a child that uses the ring ends by
    // SIGSEGV, which is better than entries in its parent's queue.
    builder.dontfork();
    let plain = builder.clone();
    // One bad I/O does not hold up those behind it in a batch (Linux 5.18).
    builder.setup_submit_all();
    if cooperative {
        // Linux 5.19.
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    let build = |builder: &io_uring::Builder| {
        calls().admit(Outside::RingSetup).map_err(std::io::Error::from_raw_os_error)?;
        builder.build(entries)
    };
    let ring = match build(&builder) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(&plain),
        result => result,
    };
    let ring = ring.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::new(errno, format!("setting up io_uring ({})", reason(errno)))
    })?;
    // Linux 5.11 has both: a time limit for waiting, and no completion is ever dropped.
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err(Error::new(libc::ENOSYS, "setting up io_uring (before Linux 5.11)"));
    }
    ask_for_workers(&ring);
    Ok(ring)
}

/// The kernel hands I/O that it cannot do without waiting to threads of its own. It has 4 of these
/// threads for each processor, for all rings that a thread enters: I/O of one storage that hangs
/// would use them up. So we ask for as many threads as there may be I/Os. The kernel starts one
/// only when all that it has are asleep. This came with Linux 5.15; where it is refused the kernel
/// keeps its 4.
fn ask_for_workers(ring: &IoUring) {
    let mut workers = [WORKERS_MAX, 0];
    let result = calls()
        .admit(Outside::RingRegister)
        .map_err(std::io::Error::from_raw_os_error)
        .and_then(|()| ring.submitter().register_iowq_max_workers(&mut workers));
    if let Err(error) = result {
        log::debug!("io_uring: a storage that hangs may delay others: {error}");
    }
}

fn reason(errno: Errno) -> &'static str {
    match errno {
        libc::ENOSYS => "the kernel has none, or a seccomp filter hides it",
        libc::EPERM | libc::EACCES => "forbidden by seccomp or by sysctl kernel.io_uring_disabled",
        libc::ENOMEM => "no memory, or more than RLIMIT_MEMLOCK",
        libc::EMFILE | libc::ENFILE => "no descriptor left",
        _ => "refused by the kernel",
    }
}
