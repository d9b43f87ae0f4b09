//! The adapter, by the traits alone: against the stand-in, or by `../check` against the real ones.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use blkalign::OpenOptions;
use blkalign_cloud_hypervisor::{DataPlane, Disk};
use block::async_io::{
    AsyncIo, AsyncIoCompletion, AsyncIoError, AsyncIoOperation, GuestMemoryTarget, OwnedIoBuffer,
};
use block::disk_file::{AsyncDiskFile, DiskSize, Geometry, Resizable};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// A file, behind a device with blocks of 4096 bytes where there are loop devices.
struct Scene {
    directory: PathBuf,
    device: Option<PathBuf>,
}

impl Scene {
    fn file(bytes: usize) -> Scene {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("blkalign-ch-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("disk"), pattern(bytes)).unwrap();
        Scene { directory, device: None }
    }

    fn device(bytes: usize) -> Option<Scene> {
        let mut scene = Scene::file(bytes);
        let mut losetup = Command::new("losetup");
        losetup.args(["--show", "-f", "--sector-size", "4096", "--direct-io=on"]);
        let output = losetup.arg(scene.path()).output().ok().filter(|it| it.status.success());
        let Some(output) = output else {
            eprintln!("skipped: no loop devices");
            return None;
        };
        scene.device = Some(String::from_utf8(output.stdout).unwrap().trim_end().into());
        Some(scene)
    }

    fn path(&self) -> PathBuf {
        self.device.clone().unwrap_or(self.directory.join("disk"))
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(self.directory.join("disk")).unwrap()
    }

    fn disk(&self) -> Disk<()> {
        let mut options = OpenOptions::new();
        options.write(true).direct(true).buffered_ok(true).unmap(true);
        Disk::new(options.open(self.path()).unwrap(), (), 512)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 512 * 7 + at % 251 + 1) as u8).collect()
}

/// As the VMM does: sleeps for the notifier, reads it, and takes all that is over.
fn completions(io: &mut dyn AsyncIo, count: usize) -> Vec<AsyncIoCompletion> {
    let mut all = Vec::new();
    while all.len() < count {
        let mut wait =
            libc::pollfd { fd: io.notifier().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one element.
        assert_eq!(unsafe { libc::poll(&mut wait, 1, 20_000) }, 1, "nothing is told");
        io.notifier().read().expect("was readable");
        while let Some(completion) = io.next_completed_request() {
            all.push(completion);
        }
    }
    all.sort_by_key(|completion| completion.user_data);
    all
}

fn write(offset: i64, bytes: Vec<u8>, user_data: u64) -> AsyncIoOperation {
    AsyncIoOperation::write_from_vec(offset, OwnedIoBuffer::from_vec(bytes), user_data)
}

fn results(io: &mut dyn AsyncIo, count: usize) -> Vec<(u64, i32)> {
    completions(io, count).iter().map(|it| (it.user_data, it.result)).collect()
}

#[test]
fn owned_buffers_come_back_with_what_was_read() {
    let scene = Scene::file(8192);
    let mut io = scene.disk().create_async_io(128).unwrap();
    let buffer = OwnedIoBuffer::from_vec(vec![0; 700]);
    io.submit_data_operation(AsyncIoOperation::read_to_vec(500, buffer, 9)).unwrap();
    let mut all = completions(&mut *io, 1);
    let AsyncIoCompletion { user_data, result, buffer } = all.remove(0);
    assert_eq!((user_data, result), (9, 700));
    assert_eq!(buffer.unwrap().as_slice(), &pattern(8192)[500..1200]);
    io.submit_data_operation(write(513, vec![7; 9], 1)).unwrap();
    assert_eq!(results(&mut *io, 1), [(1, 9)]);
    assert_eq!(
        scene.contents()[512..523],
        [&pattern(8192)[512..513], &[7; 9], &pattern(8192)[522..523]].concat()
    );
}

#[test]
fn guest_memory_is_filled_and_written_in_pieces() {
    let scene = Scene::file(8192);
    let mut io = scene.disk().create_async_io(128).unwrap();
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 1 << 16)]).unwrap();
    let memory = Arc::new(memory);
    let target = |ranges: &[(u64, u32)]| {
        let ranges: Vec<_> = ranges.iter().map(|&(at, count)| (GuestAddress(at), count)).collect();
        GuestMemoryTarget::new(memory.clone(), &ranges).unwrap()
    };
    let read = AsyncIoOperation::read_to_memory(512, target(&[(100, 512), (4000, 512)]), 3);
    io.submit_data_operation(read).unwrap();
    assert_eq!(results(&mut *io, 1), [(3, 1024)]);
    let mut bytes = vec![0; 512];
    memory.read_slice(&mut bytes, GuestAddress(4000)).unwrap();
    assert_eq!(bytes, pattern(8192)[1024..1536]);
    let write = AsyncIoOperation::write_from_memory(4096, target(&[(4000, 512)]), 4);
    io.submit_data_operation(write).unwrap();
    assert_eq!(results(&mut *io, 1), [(4, 512)]);
    assert_eq!(scene.contents()[4096..4608], bytes);
    drop(io);
    assert_eq!(Arc::strong_count(&memory), 1, "nothing keeps the memory any more");
}

#[test]
fn a_batch_is_one_write_where_it_covers_a_block() {
    let scene = Scene::file(1 << 16);
    let storage = OpenOptions::new().write(true).request_alignment(4096).open(scene.path());
    let disk = Disk::new(storage.unwrap(), (), 512);
    let mut io = disk.create_async_io(128).unwrap();
    assert!(io.batch_requests_enabled() && io.alignment() <= 1);
    let sectors = 0..8u64;
    let batch = sectors.map(|it| write(it as i64 * 512, vec![it as u8; 512], it)).collect();
    io.submit_batch_requests(batch).unwrap();
    let expected: Vec<(u64, i32)> = (0..8).map(|it| (it, 512)).collect();
    assert_eq!(results(&mut *io, 8), expected);
    assert_eq!(scene.contents()[512..1024], [1; 512]);
}

#[test]
fn a_part_of_a_batch_that_cannot_be_is_told_with_the_rest() {
    let scene = Scene::file(8192);
    let mut io = scene.disk().create_async_io(128).unwrap();
    let batch =
        vec![write(0, vec![1; 512], 1), write(8000, vec![1; 512], 2), write(-512, vec![1; 512], 3)];
    io.submit_batch_requests(batch).unwrap();
    let expected = [(1, 512), (2, -libc::EIO), (3, -libc::EINVAL)];
    assert_eq!(results(&mut *io, 3), expected);
    let alone = io.submit_data_operation(write(8000, vec![1; 512], 4));
    assert!(matches!(alone, Err(AsyncIoError::WriteVectored(_))));
}

#[test]
fn flushes_zeros_and_holes_are_told_and_leave_zeros() {
    let scene = Scene::file(1 << 16);
    let mut io = scene.disk().create_async_io(128).unwrap();
    io.write_zeroes(512, 512, 1).unwrap();
    io.punch_hole(4608, 8192, 2).unwrap();
    io.fsync(Some(3)).unwrap();
    io.fsync(None).unwrap();
    assert_eq!(results(&mut *io, 3), [(1, 0), (2, 0), (3, 0)]);
    let mut expected = pattern(1 << 16);
    expected[512..1024].fill(0);
    expected[4608..12800].fill(0);
    assert_eq!(scene.contents(), expected);
    assert!(matches!(io.punch_hole(1 << 16, 512, 4), Err(AsyncIoError::PunchHole(_))));
}

#[test]
fn a_file_is_resized_for_all_queues() {
    let scene = Scene::file(8192);
    let mut disk = scene.disk();
    let mut io = disk.create_async_io(16).unwrap();
    disk.resize(16384).unwrap();
    assert_eq!(disk.logical_size().unwrap(), 16384);
    io.submit_data_operation(write(16384 - 512, vec![1; 512], 1)).unwrap();
    assert_eq!(results(&mut *io, 1), [(1, 512)]);
}

#[test]
fn the_guest_has_its_sectors_on_storage_of_large_blocks() {
    let Some(scene) = Scene::device(1 << 20) else { return };
    let mut disk = scene.disk();
    let topology = disk.topology();
    assert_eq!((topology.logical_block_size, topology.physical_block_size), (512, 4096));
    disk.resize(1 << 20).unwrap();
    assert!(disk.resize(1 << 21).is_err(), "a device is resized by others");
}

#[test]
fn eight_queues_of_one_block_lose_nothing() {
    let Some(scene) = Scene::device(1 << 20) else { return };
    let disk = scene.disk();
    let mut lost = 0;
    let mut queues: Vec<_> =
        (0..8).map(|_| disk.try_clone().unwrap().create_async_io(128).unwrap()).collect();
    for round in 1..=50u8 {
        std::thread::scope(|scope| {
            for (sector, io) in queues.iter_mut().enumerate() {
                scope.spawn(move || {
                    let at = sector as i64 * 512;
                    io.submit_data_operation(write(at, vec![round; 512], 0)).unwrap();
                    assert_eq!(results(&mut **io, 1), [(0, 512)]);
                });
            }
        });
        let buffer = OwnedIoBuffer::from_vec(vec![0; 4096]);
        let io = &mut queues[0];
        io.submit_data_operation(AsyncIoOperation::read_to_vec(0, buffer, 0)).unwrap();
        let buffer = completions(&mut **io, 1).remove(0).buffer.unwrap();
        lost += buffer.as_slice().chunks(512).filter(|sector| **sector != [round; 512]).count();
    }
    assert_eq!(lost, 0);
}

#[test]
fn what_the_vmm_moves_to_its_threads_can_be_moved() {
    fn is_send<T: Send>() {}
    is_send::<Box<dyn AsyncIo>>();
    is_send::<Box<dyn AsyncDiskFile>>();
    is_send::<DataPlane>();
}
