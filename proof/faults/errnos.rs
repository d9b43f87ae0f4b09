//! What each call may answer: every errno of its manual page, and what block devices say.

use libc::*;

use crate::proof::disk::injector::{Answer, Call, Plan};
use crate::proof::table::Answered;
use crate::sys::Outside;

const OPEN: &[i32] = &[
    EACCES,
    EBADF,
    EBUSY,
    EDQUOT,
    EEXIST,
    EFAULT,
    EFBIG,
    EINTR,
    EINVAL,
    EISDIR,
    ELOOP,
    EMFILE,
    ENAMETOOLONG,
    ENFILE,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOTDIR,
    ENXIO,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    EROFS,
    ETXTBSY,
    EAGAIN,
    EIO,
    ESTALE,
];
const UNLINK: &[i32] = &[
    EACCES,
    EBUSY,
    EFAULT,
    EIO,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOMEM,
    ENOTDIR,
    EPERM,
    EROFS,
];
const READLINK: &[i32] =
    &[EACCES, EFAULT, EINVAL, EIO, ELOOP, ENAMETOOLONG, ENOENT, ENOMEM, ENOTDIR];
const NAMES: &[i32] = &[EACCES, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR, EFAULT, EINVAL, EIO];
const FSTAT: &[i32] = &[EBADF, EFAULT, ENOMEM, EOVERFLOW, EIO, ESTALE];
const STATX: &[i32] = &[
    EACCES,
    EBADF,
    EFAULT,
    EINVAL,
    ELOOP,
    ENAMETOOLONG,
    ENOENT,
    ENOMEM,
    ENOTDIR,
    ENOSYS,
    EOPNOTSUPP,
];
const FSTATFS: &[i32] = &[EBADF, EFAULT, EINTR, EIO, ENOMEM, ENOSYS, EOVERFLOW, EPERM, EACCES];
const IOCTL: &[i32] =
    &[EBADF, EFAULT, EINVAL, ENOTTY, EIO, EPERM, EACCES, EOPNOTSUPP, EINTR, EBUSY, ENXIO, EROFS];
/// Of the block layer, where a disk fails.
const DISK: &[i32] = &[EIO, ENODATA, EILSEQ, EREMOTEIO, ETIMEDOUT, ENOLINK, EBADE, ENODEV, ENOMEM];
const READ: &[i32] =
    &[EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EISDIR, ENXIO, EOVERFLOW, ESPIPE, EOPNOTSUPP];
const WRITE: &[i32] = &[
    EAGAIN,
    EBADF,
    EDESTADDRREQ,
    EDQUOT,
    EFAULT,
    EFBIG,
    EINTR,
    EINVAL,
    ENOSPC,
    EPERM,
    EPIPE,
    ENXIO,
    EOVERFLOW,
    ESPIPE,
    EOPNOTSUPP,
    EROFS,
];
const FDATASYNC: &[i32] = &[EBADF, EINTR, EIO, EROFS, EINVAL, ENOSPC, EDQUOT];
const FALLOCATE: &[i32] = &[
    EBADF, EFBIG, EINTR, EINVAL, EIO, ENODEV, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, ESPIPE, ETXTBSY,
    EBUSY,
];
const FTRUNCATE: &[i32] =
    &[EBADF, EFBIG, EINTR, EINVAL, EIO, EPERM, EROFS, ETXTBSY, EACCES, EISDIR, ENOSPC, EDQUOT];
const LSEEK: &[i32] = &[EBADF, EINVAL, ENXIO, EOVERFLOW, ESPIPE];
const FCNTL: &[i32] = &[EACCES, EAGAIN, EBADF, EBUSY, EFAULT, EINTR, EINVAL, EMFILE, EPERM];
const FCNTL_LOCK: &[i32] =
    &[EACCES, EAGAIN, EBADF, EDEADLK, EFAULT, EINTR, EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP];
const EVENTFD: &[i32] = &[EINVAL, EMFILE, ENFILE, ENODEV, ENOMEM];
const RING_SETUP: &[i32] = &[EFAULT, EINVAL, EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS, EACCES];
const RING_ENTER: &[i32] = &[
    EAGAIN, EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP, EINTR, EOWNERDEAD,
    ENOMEM, EPERM,
];
const RING_REGISTER: &[i32] = &[
    EACCES, EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINVAL, EMFILE, ENOMEM, ENXIO, EOPNOTSUPP, EPERM,
];

/// Bytes that a call moves instead of all.
const SHORT: [Answer; 5] = [
    Answer::Short(0),
    Answer::Short(1),
    Answer::Short(512),
    Answer::Short(4096),
    Answer::AllBut(4096),
];

fn errnos(call: Call) -> Vec<i32> {
    let lists: &[&[i32]] = match call {
        Call::Open => &[OPEN],
        Call::Unlink => &[UNLINK],
        Call::Readlink => &[READLINK],
        Call::Names => &[NAMES],
        Call::Fstat => &[FSTAT],
        Call::Statx => &[STATX],
        Call::Fstatfs => &[FSTATFS],
        Call::Ioctl => &[IOCTL],
        Call::Preadv2 => &[READ, DISK],
        Call::Pwritev2 => &[WRITE, DISK],
        Call::Fdatasync => &[FDATASYNC],
        Call::SyncDirectory => &[FDATASYNC],
        Call::Fallocate => &[FALLOCATE],
        Call::Ftruncate => &[FTRUNCATE],
        Call::Lseek => &[LSEEK],
        Call::Fcntl => &[FCNTL],
        Call::FcntlLock => &[FCNTL_LOCK],
        Call::Fadvise => &[&[EINVAL]],
        Call::Memory => &[&[ENOMEM]],
        Call::Outside(Outside::Thread) => &[&[EAGAIN, ENOMEM, EPERM]],
        Call::Outside(Outside::Eventfd) => &[EVENTFD],
        Call::Outside(Outside::RingSetup) => &[RING_SETUP],
        Call::Entering(_) => &[RING_ENTER],
        Call::Outside(Outside::RingRegister) => &[RING_REGISTER],
        Call::Ring(Answered::Read) => &[READ, DISK, &[ECANCELED]],
        Call::Ring(Answered::Write) => &[WRITE, DISK, &[ECANCELED]],
        Call::Ring(Answered::Flush) => &[FDATASYNC, &[ECANCELED, EAGAIN]],
    };
    lists.concat()
}

/// All that `call` may be answered with in the system's place.
pub fn answers(call: Call) -> Vec<Answer> {
    let mut answers: Vec<Answer> = errnos(call).into_iter().map(Answer::Fails).collect();
    if matches!(call, Call::Pwritev2 | Call::Fdatasync | Call::Fallocate | Call::Ftruncate) {
        // It fails, and has been done all the same.
        answers.extend([EIO, ENOSPC, EINTR].map(Answer::FailsLate));
    }
    let moves = matches!(
        call,
        Call::Preadv2 | Call::Pwritev2 | Call::Ring(Answered::Read | Answered::Write)
    );
    if moves {
        answers.extend(SHORT);
    }
    answers
}

/// How often one is answered so that is for ever. What is asked again after a pause, or without an
/// end, gets its answer at last: no system interrupts for ever.
pub fn for_ever(call: Call) -> u32 {
    match call {
        Call::Outside(_) | Call::Entering(_) => 20,
        _ => 1000,
    }
}

/// Whether a request, or an open, may fail with `errno` where `call` was answered so.
pub fn may_fail_with(plan: Plan, errno: i32) -> bool {
    let Plan { call, answer, times, .. } = plan;
    let (Answer::Fails(injected) | Answer::FailsLate(injected)) = answer else {
        // What is short once is asked for again; but nothing at all may be taken for an answer.
        return errno == EIO && (times > 1 || answer == Answer::Short(0));
    };
    match (call, injected) {
        // The caller is not to try again.
        (Call::Outside(Outside::Thread), _) => errno == ENOMEM,
        // No end of interruptions; one is nothing.
        (Call::Fcntl | Call::FcntlLock, EINTR) => errno == EINTR,
        // An open says so; of a discard it is asked again.
        (Call::Ioctl, EINTR) => errno == EINTR || (errno == EIO && times > 1),
        (_, EINTR) => errno == EIO && times > 1,
        (Call::Ring(_), EAGAIN | ECANCELED) => errno == EIO && times > 1,
        // Which means that another eventfd is registered; and then none is.
        (Call::Outside(Outside::RingRegister), EBUSY) => errno == EBUSY || errno == ENXIO,
        (Call::FcntlLock, EACCES) => errno == EAGAIN || errno == EACCES,
        (Call::FcntlLock, EINVAL | ENOSYS) => errno == ENOTSUP,
        // NO_FALLBACK: what cannot be told, or done, is not done slowly.
        (Call::Fallocate | Call::Open | Call::Fstat | Call::Preadv2, _) if errno == ENOTSUP => true,
        _ => errno == injected,
    }
}
