//! The trait `Driver`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use blkalign::{Disk, Driver, Flags, OpenOptions, ReadTarget, WriteSource};

use crate::scene::{errno, pattern, Ram, Scene};

#[test]
fn a_driver_sees_whole_blocks_only() {
    let (disk, inside) = Ram::disk(1 << 16);
    disk.write_at(&[1; 700], 300).unwrap();
    disk.write_zeroes(5000, 100, Flags::MAY_UNMAP).unwrap();
    disk.discard(0, 512).unwrap();
    let mut expected = pattern(1 << 16);
    expected[300..1000].fill(1);
    expected[5000..5100].fill(0);
    assert!(*inside.bytes.lock().unwrap() == expected);
    let mut back = [0; 701];
    disk.read_at(&mut back, 300).unwrap();
    assert_eq!(back[..], expected[300..1001]);
}

#[test]
fn a_driver_lives_as_long_as_a_disk_or_queue_of_it() {
    let (disk, inside) = Ram::disk(4096);
    let queue = disk.queue().unwrap();
    drop(disk);
    assert!(!inside.dropped.load(Ordering::SeqCst));
    drop(queue);
    assert!(inside.dropped.load(Ordering::SeqCst));
    // It cannot be opened, since its length is not whole blocks.
    let (driver, inside) = Ram::new(4095);
    assert_eq!(errno(OpenOptions::new().open_driver(driver)), libc::EINVAL);
    assert!(inside.dropped.load(Ordering::SeqCst));
}

/// Fails as told, and notes what it gets.
#[derive(Default)]
struct Odd {
    fails: Mutex<Option<Fault>>,
    flags: Mutex<Vec<Flags>>,
    length: Mutex<u64>,
    dropped: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Fault {
    Kind(io::ErrorKind),
    Errno(i32),
    Panic,
    PanicOfError,
    PassesEnd,
}

/// What an `io::Error` may have inside, too.
#[derive(Debug)]
struct Spiteful;

impl std::fmt::Display for Spiteful {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unreachable!()
    }
}

impl std::error::Error for Spiteful {}

impl Drop for Spiteful {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new(()));
    }
}

impl Odd {
    fn answer(&self) -> io::Result<()> {
        // Not locked while it panics.
        let fault = *self.fails.lock().unwrap();
        match fault {
            None | Some(Fault::PassesEnd) => Ok(()),
            Some(Fault::Kind(kind)) => Err(kind.into()),
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Panic) => std::panic::resume_unwind(Box::new(())),
            Some(Fault::PanicOfError) => Err(io::Error::other(Spiteful)),
        }
    }
}

struct OddDriver(Arc<Odd>);

impl Driver for OddDriver {
    fn name(&self) -> String {
        "o\0dd".into()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.answer()?;
        Ok(*self.0.length.lock().unwrap())
    }
    fn read(&self, _: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
        self.0.answer()?;
        let fault = *self.0.fails.lock().unwrap();
        if let Some(Fault::PassesEnd) = fault {
            target.put(target.len(), &[1]);
        }
        Ok(())
    }
    fn write(&self, _: u64, source: &WriteSource<'_>, flags: Flags) -> io::Result<()> {
        let total: usize = source.iovecs().iter().map(|part| part.iov_len).sum();
        assert_eq!(total, source.len());
        self.0.flags.lock().unwrap().push(flags);
        self.0.answer()
    }
    fn flush(&self) -> io::Result<()> {
        self.0.answer()
    }
    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        self.0.answer()
    }
    fn write_zeroes(&self, _: u64, _: u64, flags: Flags) -> io::Result<()> {
        self.0.flags.lock().unwrap().push(flags);
        self.0.answer()
    }
    fn can_set_len(&self) -> bool {
        true
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.answer()?;
        *self.0.length.lock().unwrap() = bytes;
        Ok(())
    }
}

impl Drop for OddDriver {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
        std::panic::resume_unwind(Box::new(()));
    }
}

fn odd() -> (Disk, Arc<Odd>) {
    let odd = Arc::new(Odd { length: Mutex::new(8192), ..Odd::default() });
    let driver = OddDriver(odd.clone());
    (OpenOptions::new().write(true).unmap(true).open_driver(driver).unwrap(), odd)
}

#[test]
fn errors_of_a_driver_keep_their_errno() {
    let (disk, odd) = odd();
    for (fault, expected) in [
        (Fault::Errno(libc::ENOSPC), libc::ENOSPC),
        (Fault::Kind(io::ErrorKind::StorageFull), libc::ENOSPC),
        (Fault::Kind(io::ErrorKind::PermissionDenied), libc::EPERM),
        (Fault::Kind(io::ErrorKind::Other), libc::EIO),
        (Fault::Errno(0), libc::EIO),
        (Fault::Errno(-5), libc::EIO),
        (Fault::Panic, libc::EIO),
        (Fault::PanicOfError, libc::EIO),
    ] {
        *odd.fails.lock().unwrap() = Some(fault);
        let error = disk.write_at(&[1], 5).unwrap_err();
        assert_eq!(error.raw_os_error(), expected, "{error}");
        assert!(error.to_string().contains("o?dd"), "{error}");
        assert_eq!(errno(disk.read_at(&mut [0], 5)), expected);
        assert_eq!(errno(disk.refresh_len()), expected);
    }
    *odd.fails.lock().unwrap() = Some(Fault::PassesEnd);
    assert_eq!(errno(disk.read_at(&mut [0], 5)), libc::EIO, "the panic of `put`");
    *odd.fails.lock().unwrap() = None;
    disk.read_at(&mut [0], 5).unwrap();
}

#[test]
fn what_a_driver_cannot_do_is_done_without() {
    let (disk, odd) = odd();
    *odd.fails.lock().unwrap() = Some(Fault::Kind(io::ErrorKind::Unsupported));
    disk.discard(0, 100).unwrap();
    assert_eq!(errno(disk.write_zeroes(0, 100, Flags::NO_FALLBACK)), libc::ENOTSUP);
    *odd.fails.lock().unwrap() = None;
    let (disk, _) = Ram::disk(4096);
    assert_eq!(errno(disk.set_len(512)), libc::ENOTSUP);
    assert_eq!(errno(OpenOptions::new().write(true).resize(true).open_driver(Ram::new(512).0)), 22);
}

#[test]
fn a_driver_gets_the_flags_that_it_has_to_know() {
    let (disk, odd) = odd();
    disk.write_at_with(&[1], 0, Flags::FUA | Flags::SERIALISING).unwrap();
    disk.write_zeroes(0, 10, Flags::MAY_UNMAP).unwrap();
    assert_eq!(*odd.flags.lock().unwrap(), [Flags::FUA, Flags::MAY_UNMAP]);
    disk.set_len(10000).unwrap();
    assert_eq!((disk.len(), *odd.length.lock().unwrap()), (10000, 10000));
}

#[test]
fn a_driver_that_panics_when_it_is_dropped_is_dropped_all_the_same() {
    let (disk, odd) = odd();
    drop(disk);
    assert!(odd.dropped.load(Ordering::SeqCst));
}

#[test]
fn a_panic_before_there_is_a_disk_goes_to_the_caller() {
    struct Unsure;
    impl Driver for Unsure {
        fn name(&self) -> String {
            std::panic::resume_unwind(Box::new(7))
        }
        fn len(&self) -> io::Result<u64> {
            unreachable!()
        }
        fn read(&self, _: u64, _: &mut ReadTarget<'_>) -> io::Result<()> {
            unreachable!()
        }
        fn write(&self, _: u64, _: &WriteSource<'_>, _: Flags) -> io::Result<()> {
            unreachable!()
        }
    }
    let panic = std::panic::catch_unwind(|| OpenOptions::new().open_driver(Unsure)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&7));
}

#[test]
fn parts_of_a_vector_are_put_and_got_by_their_place() {
    struct Parts(Mutex<Vec<(usize, u8)>>);
    impl Driver for Parts {
        fn max_segments(&self) -> u32 {
            8
        }
        fn len(&self) -> io::Result<u64> {
            Ok(4096)
        }
        fn read(&self, _: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
            // Backwards, in pieces that cross the parts of the vector.
            for at in (0..target.len()).rev() {
                target.put(at, &[at as u8]);
            }
            target.put(1, &[101, 102, 103, 104]);
            target.put(target.len(), &[]);
            Ok(())
        }
        fn write(&self, _: u64, source: &WriteSource<'_>, _: Flags) -> io::Result<()> {
            let mut some = [0; 4];
            source.get(1, &mut some);
            let places = some.into_iter().zip(1..).map(|(byte, at)| (at, byte));
            self.0.lock().unwrap().extend(places);
            assert!(some == [2, 3, 4, 5]);
            Ok(())
        }
    }
    let disk = OpenOptions::new().write(true).open_driver(Parts(Mutex::default())).unwrap();
    let (mut one, mut two, mut three) = ([0; 2], [0; 1], [0; 4]);
    let parts = &mut [&mut one[..], &mut two[..], &mut three[..]].map(io::IoSliceMut::new);
    disk.read_vectored_at(parts, 8).unwrap();
    assert_eq!((one, two, three), ([0, 101], [102], [103, 104, 5, 6]));
    let parts = [&[1, 2][..], &[3], &[4, 5, 6]].map(io::IoSlice::new);
    disk.write_vectored_at(&parts, 8, Flags::empty()).unwrap();
}

#[test]
fn a_driver_may_stand_on_another_disk() {
    struct Above(Disk);
    impl Driver for Above {
        fn request_alignment(&self) -> u32 {
            4096
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len())
        }
        fn read(&self, offset: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
            let mut bytes = vec![0; target.len()];
            self.0.read_at(&mut bytes, offset)?;
            target.put(0, &bytes);
            Ok(())
        }
        fn write(&self, offset: u64, source: &WriteSource<'_>, flags: Flags) -> io::Result<()> {
            let mut bytes = vec![0; source.len()];
            source.get(0, &mut bytes);
            Ok(self.0.write_at_with(&bytes, offset, flags)?)
        }
    }
    let scene = Scene::new(8192);
    let below = OpenOptions::new().open(scene.path()).unwrap();
    let disk = OpenOptions::new().write(true).open_driver(Above(below)).unwrap();
    let mut back = [0; 100];
    disk.read_at(&mut back, 4050).unwrap();
    assert_eq!(back[..], pattern(8192)[4050..4150]);
    assert_eq!(errno(disk.write_at(&back, 0)), libc::EPERM, "the errno of the disk below");
}
