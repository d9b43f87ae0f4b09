//! Disks for the tests here.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use blkalign::{Disk, Driver, Flags, OpenOptions, Queue, ReadTarget, WriteSource};

use crate::testbed::{Directory, Loop4k};

/// Bytes that tell their places apart.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 512 * 7 + at % 251 + 1) as u8).collect()
}

/// A file, filled with `pattern`.
pub struct Scene {
    path: PathBuf,
    _directory: Directory,
}

impl Scene {
    pub fn new(bytes: usize) -> Scene {
        let directory = Directory::new().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, pattern(bytes)).unwrap();
        Scene { path, _directory: directory }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn contents(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub fn disk(&self) -> Disk {
        OpenOptions::new().write(true).open(&self.path).unwrap()
    }

    pub fn queue(&self) -> Queue {
        self.disk().queue().unwrap()
    }
}

/// A device with blocks of 4096 bytes, filled with `pattern`.
pub fn blocks_of_4096(bytes: usize) -> Result<Loop4k, String> {
    let disk = Loop4k::new(bytes as u64)?;
    let device = fs::File::options().write(true).open(disk.path()).unwrap();
    device.write_all_at(&pattern(bytes), 0).unwrap();
    device.sync_all().unwrap();
    Ok(disk)
}

/// Polls until so many requests are over; the results by `user_data`.
pub fn results(queue: &Queue, count: usize) -> Vec<(u64, i32)> {
    let mut results = Vec::new();
    while results.len() < count {
        queue.poll(None, |user_data, result| results.push((user_data, errno(result)))).unwrap();
    }
    results.sort();
    results
}

pub fn errno<T>(result: Result<T, blkalign::Error>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error())
}

/// What a test sees of a `Ram`, and does with it.
#[derive(Default)]
pub struct Inside {
    pub bytes: Mutex<Vec<u8>>,
    pub reads: AtomicUsize,
    pub writes: AtomicUsize,
    pub dropped: AtomicBool,
    /// Reads and writes wait while it is closed.
    closed: Mutex<bool>,
    opens: Condvar,
}

impl Inside {
    pub fn close_gate(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub fn open_gate(&self) {
        *self.closed.lock().unwrap() = false;
        self.opens.notify_all();
    }

    pub fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.opens.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// A driver with blocks of 512 bytes in memory.
pub struct Ram(pub Arc<Inside>);

impl Ram {
    pub fn new(bytes: usize) -> (Ram, Arc<Inside>) {
        let inside = Arc::new(Inside { bytes: Mutex::new(pattern(bytes)), ..Inside::default() });
        (Ram(inside.clone()), inside)
    }

    /// Open for writing, with threads of its own.
    pub fn disk(bytes: usize) -> (Disk, Arc<Inside>) {
        let (driver, inside) = Ram::new(bytes);
        let options = OpenOptions::new().write(true).workers(2).clone();
        (options.open_driver(driver).unwrap(), inside)
    }
}

impl Driver for Ram {
    fn request_alignment(&self) -> u32 {
        512
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, target: &mut ReadTarget<'_>) -> io::Result<()> {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        self.0.pass();
        let bytes = self.0.bytes.lock().unwrap();
        target.put(0, &bytes[offset as usize..][..target.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, source: &WriteSource<'_>, _: Flags) -> io::Result<()> {
        self.0.pass();
        let mut bytes = self.0.bytes.lock().unwrap();
        source.get(0, &mut bytes[offset as usize..][..source.len()]);
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
    }
}
