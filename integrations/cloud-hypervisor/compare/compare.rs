//! compare DEVICE SECONDS: Cloud Hypervisor's own engines for raw disks beside the adapter, by the
//! same trait. Overwrites the device. `../check` builds and runs it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use blkalign::OpenOptions;
use block::async_io::{AsyncIo, AsyncIoOperation, OwnedIoBuffer};
use block::disk_file::AsyncDiskFile;
use block::formats::raw::{RawBackend, RawDisk};

const QUEUES: usize = 8;
const DEPTH: usize = 32;
const ROUNDS: u8 = 100;
const SECTOR: usize = 512;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("DEVICE");
    let seconds = arguments.next().map_or(3.0, |it| it.parse().expect("SECONDS"));
    let time = Duration::from_secs_f64(seconds);
    let open = || {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).unwrap()
    };
    let theirs = |backend| Box::new(RawDisk::new(open(), backend, true)) as Box<dyn AsyncDiskFile>;
    let storage = OpenOptions::new().write(true).direct(true).open(&path).unwrap();
    let ours = blkalign_cloud_hypervisor::Disk::new(storage, (), SECTOR as u32);
    let disks = [
        ("sync", theirs(RawBackend::Sync)),
        ("aio", theirs(RawBackend::Aio)),
        ("io_uring", theirs(RawBackend::IoUring)),
        ("blkalign", Box::new(ours)),
    ];
    println!("engine    lost of {}   seconds   reads/s   writes/s", 8 * usize::from(ROUNDS));
    for (name, disk) in disks {
        let begin = Instant::now();
        let lost = lost_updates(&*disk, &open());
        let took = begin.elapsed().as_secs_f64();
        let bytes = open().metadata().map(|_| length(&open())).unwrap();
        let [reads, writes] = [true, false].map(|reads| rate(&*disk, bytes, reads, time));
        println!("{name:9} {lost:12} {took:9.2} {reads:9.0} {writes:10.0}");
    }
}

fn length(device: &File) -> u64 {
    let mut bytes = 0u64;
    // SAFETY: BLKGETSIZE64 stores eight bytes.
    unsafe { libc::ioctl(device.as_raw_fd(), 0x8008_1272, &mut bytes) };
    bytes
}

fn queues(disk: &dyn AsyncDiskFile) -> Vec<Box<dyn AsyncIo>> {
    let queue = |_| disk.try_clone().unwrap().create_async_io(128).unwrap();
    (0..QUEUES).map(queue).collect()
}

fn wait(io: &mut dyn AsyncIo) {
    let fd = io.notifier().as_raw_fd();
    let mut wait = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one element.
    unsafe { libc::poll(&mut wait, 1, -1) };
    io.notifier().read().unwrap();
}

fn buffer(byte: u8) -> OwnedIoBuffer {
    OwnedIoBuffer::from_vec(vec![byte; SECTOR])
}

/// Eight queues write the eight sectors of one block, at once.
fn lost_updates(disk: &dyn AsyncDiskFile, device: &File) -> usize {
    let mut queues = queues(disk);
    let mut lost = 0;
    for round in 1..=ROUNDS {
        std::thread::scope(|scope| {
            for (sector, io) in queues.iter_mut().enumerate() {
                scope.spawn(move || {
                    let at = (sector * SECTOR) as i64;
                    let write = AsyncIoOperation::write_from_vec(at, buffer(round), 0);
                    io.submit_data_operation(write).unwrap();
                    // The notifier may be readable though nothing is over.
                    let completion = loop {
                        wait(&mut **io);
                        if let Some(completion) = io.next_completed_request() {
                            break completion;
                        }
                    };
                    assert_eq!(completion.result, SECTOR as i32);
                });
            }
        });
        let mut memory = vec![0; 8192];
        let skip = memory.as_ptr().align_offset(4096);
        device.read_exact_at(&mut memory[skip..skip + 4096], 0).unwrap();
        let sectors = memory[skip..skip + 4096].chunks(SECTOR);
        lost += sectors.filter(|sector| **sector != [round; SECTOR]).count();
    }
    lost
}

/// Requests a second of 512 bytes at random places, eight queues of depth 32.
fn rate(disk: &dyn AsyncDiskFile, bytes: u64, reads: bool, time: Duration) -> f64 {
    let mut queues = queues(disk);
    let begin = Instant::now();
    let count: u64 = std::thread::scope(|scope| {
        let loops = queues.iter_mut().enumerate().map(|(index, io)| {
            scope.spawn(move || run(&mut **io, index as u64 + 1, bytes, reads, begin + time))
        });
        let loops: Vec<_> = loops.collect();
        loops.into_iter().map(|it| it.join().unwrap()).sum()
    });
    count as f64 / begin.elapsed().as_secs_f64()
}

fn run(io: &mut dyn AsyncIo, seed: u64, bytes: u64, reads: bool, until: Instant) -> u64 {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |number: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = (random % (bytes / SECTOR as u64)) as i64 * SECTOR as i64;
        match reads {
            true => AsyncIoOperation::read_to_vec(at, buffer(0), number),
            false => AsyncIoOperation::write_from_vec(at, buffer(9), number),
        }
    };
    let mut submit = |io: &mut dyn AsyncIo, numbers: &mut Vec<u64>| {
        let mut batch: Vec<_> = numbers.drain(..).map(&mut next).collect();
        if io.batch_requests_enabled() {
            return io.submit_batch_requests(batch).unwrap();
        }
        batch.drain(..).for_each(|operation| io.submit_data_operation(operation).unwrap());
    };
    let mut free: Vec<u64> = (0..DEPTH as u64).collect();
    let (mut count, mut in_flight) = (0, DEPTH);
    submit(io, &mut free);
    while in_flight > 0 {
        wait(io);
        while let Some(completion) = io.next_completed_request() {
            assert_eq!(completion.result, SECTOR as i32);
            free.push(completion.user_data);
            count += 1;
        }
        in_flight -= free.len();
        if Instant::now() < until {
            in_flight += free.len();
            submit(io, &mut free);
        }
        free.clear();
    }
    count
}
