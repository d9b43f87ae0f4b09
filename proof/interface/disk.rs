//! `OpenOptions` and `Disk`.

use std::error::Error as _;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};

use blkalign::{Disk, Engine, Error, Flags, OpenOptions, Queue, Source};

use crate::scene::{blocks_of_4096, errno, pattern, Scene};
use crate::testbed::or_skip;

#[test]
fn disks_and_queues_go_where_programs_want_them() {
    fn is_clone_send_sync<T: Clone + Send + Sync>() {}
    fn is_send_sync<T: Send + Sync>() {}
    is_clone_send_sync::<Disk>();
    is_send_sync::<Queue>();
    is_send_sync::<Error>();
    is_send_sync::<OpenOptions>();
}

#[test]
fn any_bytes_go_anywhere_and_their_neighbours_stay() {
    let Some(device) = or_skip(blocks_of_4096(1 << 20)) else { return };
    let mut expected = pattern(1 << 20);
    let disk = OpenOptions::new().write(true).direct(true).open(device.path()).unwrap();
    assert_eq!((disk.len(), disk.limits().request_alignment), (1 << 20, 4096));
    for (offset, bytes) in [(0, 1), (4095, 2), (513, 8000), (8192, 4096), ((1 << 20) - 1, 1)] {
        let new = vec![0xee; bytes];
        disk.write_at(&new, offset as u64).unwrap();
        expected[offset..offset + bytes].copy_from_slice(&new);
        let mut back = vec![0; bytes];
        disk.read_at(&mut back, offset as u64).unwrap();
        assert!(back == new, "{offset} {bytes}");
    }
    let mut all = disk.buffer(1 << 20).unwrap();
    disk.read_at(&mut all, 0).unwrap();
    assert!(all[..] == expected[..]);
    let stats = disk.stats();
    assert!(stats.rmw >= 4 && stats.writes == 5 && stats.zero_copy >= 1, "{stats:?}");
    let limits = disk.limits();
    assert!(limits.direct && limits.request_alignment_source != Source::Default, "{limits:?}");
}

#[test]
fn vectors_go_out_in_order_with_empty_parts_too() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    disk.write_vectored_at(&parts, 4094, Flags::empty()).unwrap();
    let (mut one, mut two) = ([0; 4], [0; 1]);
    let mut parts = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    disk.read_vectored_at(&mut parts, 4094).unwrap();
    assert_eq!((&one, &two), (b"abcd", b"e"));
    disk.read_at(&mut [], 8192).unwrap();
}

#[test]
fn failures_have_an_errno_and_words() {
    let scene = Scene::new(8192);
    let reader = OpenOptions::new().open(scene.path()).unwrap();
    assert_eq!(errno(reader.write_at(b"x", 0)), libc::EPERM);
    let disk = scene.disk();
    let error = disk.write_at(b"xy", 8191).unwrap_err();
    assert_eq!(error.raw_os_error(), libc::EIO);
    assert!(error.to_string().contains("2 bytes at offset 8191"), "{error}");
    assert!(error.source().is_none());
    for offset in [u64::MAX, i64::MAX as u64, 1 << 63] {
        assert_eq!(errno(disk.read_at(&mut [0], offset)), libc::EINVAL);
        assert_eq!(errno(disk.write_zeroes(offset, 1, Flags::empty())), libc::EINVAL);
        assert_eq!(errno(disk.discard(1, offset)), libc::EINVAL);
        assert_eq!(errno(disk.set_len(offset)), libc::EINVAL);
    }
    assert_eq!(errno(disk.write_at_with(b"x", 0, Flags::MAY_UNMAP)), libc::EINVAL);
    let unknown = Flags::from_bits_retain(1 << 30);
    assert_eq!(errno(disk.write_at_with(b"x", 0, unknown)), libc::EINVAL);
    assert_eq!(scene.contents(), pattern(8192));
    let other = io::Error::from(error);
    assert!(other.to_string().contains("offset 8191"), "{other}");
}

#[test]
fn options_that_cannot_be_are_refused() {
    let scene = Scene::new(8192);
    let wrong = |change: &dyn Fn(&mut OpenOptions)| {
        let mut options = OpenOptions::new();
        change(&mut options);
        errno(options.open(scene.path()))
    };
    assert_eq!(wrong(&|options| _ = options.request_alignment(3)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.mem_alignment(1 << 21)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.guest_block_size(u32::MAX)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.window(8192, 1)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.window(u64::MAX, 1)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.workers(1025)), libc::EINVAL);
    assert_eq!(wrong(&|options| _ = options.window(1, 1).write(true).resize(true)), libc::EINVAL);
    assert_eq!(errno(OpenOptions::new().open("a\0b")), libc::EINVAL);
    assert_eq!(wrong(&|_| ()), 0);
}

#[test]
fn a_window_is_a_disk_of_its_own() {
    let scene = Scene::new(8192);
    let window = OpenOptions::new().write(true).window(1000, 100).open(scene.path()).unwrap();
    assert_eq!(window.len(), 100);
    window.write_at(&[0; 100], 0).unwrap();
    assert_eq!(errno(window.write_at(&[0], 100)), libc::EIO);
    let mut expected = pattern(8192);
    expected[1000..1100].fill(0);
    assert_eq!(scene.contents(), expected);
}

#[test]
fn a_file_is_created_grows_and_shrinks_to_the_byte() {
    let scene = Scene::new(0);
    let path = scene.path().with_extension("new");
    let mut options = OpenOptions::new();
    let disk = options.write(true).create(true).resize(true).open(&path).unwrap();
    disk.write_at(b"end", 4999).unwrap();
    assert_eq!((disk.len(), fs::metadata(&path).unwrap().len()), (5002, 5002));
    disk.set_len(4997).unwrap();
    assert_eq!((disk.len(), fs::metadata(&path).unwrap().len()), (4997, 4997));
    // A queue of the disk creates nothing: the file may be gone by then.
    fs::remove_file(&path).unwrap();
    drop(disk.queue());
    assert!(!path.exists());
}

#[test]
fn zeros_and_discards_keep_to_their_range() {
    let scene = Scene::new(16384);
    let disk = OpenOptions::new().write(true).unmap(true).open(scene.path()).unwrap();
    disk.write_zeroes(100, 8000, Flags::MAY_UNMAP).unwrap();
    disk.discard(8192, 10).unwrap();
    disk.flush().unwrap();
    let mut expected = pattern(16384);
    expected[100..8100].fill(0);
    let contents = scene.contents();
    assert!(contents[..8192] == expected[..8192] && contents[8202..] == expected[8202..]);
}

#[test]
fn a_descriptor_stays_its_owners() {
    let scene = Scene::new(8192);
    let file = fs::File::options().read(true).write(true).open(scene.path()).unwrap();
    let disk = OpenOptions::new().write(true).open_fd(&file).unwrap();
    drop(file);
    disk.write_at(b"later", 5).unwrap();
    assert_eq!(&scene.contents()[5..10], b"later");
    let reader = fs::File::open(scene.path()).unwrap();
    assert_eq!(errno(OpenOptions::new().write(true).open_fd(&reader)), libc::EACCES);
}

#[test]
fn the_length_is_looked_up_anew() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    fs::File::options().write(true).open(scene.path()).unwrap().set_len(10000).unwrap();
    assert_eq!(disk.len(), 8192);
    assert_eq!(disk.refresh_len().unwrap(), 10000);
    assert_eq!(disk.len(), 10000);
}

#[test]
fn a_clone_is_the_same_disk_and_keeps_it_open() {
    let scene = Scene::new(8192);
    let disk = scene.disk();
    let clone = disk.clone();
    disk.read_at(&mut [0], 0).unwrap();
    drop(disk);
    clone.read_at(&mut [0], 0).unwrap();
    assert_eq!(clone.stats().reads, 2);
}

#[test]
fn the_engine_that_was_asked_for_is_in_use() {
    let scene = Scene::new(8192);
    let disk = OpenOptions::new().engine(Engine::Threads).open(scene.path()).unwrap();
    assert_eq!((disk.limits().engine, disk.engine_reason()), (Engine::Threads, ""));
    assert_eq!(disk.queue().unwrap().limits().engine, Engine::Threads);
}
