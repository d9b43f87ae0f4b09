//! Feature `vm-memory`.

use std::io;
use std::sync::Arc;

use blkalign::{Flags, Queue};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use crate::scene::{errno, pattern, results, Ram, Scene};

type Memory = GuestMemoryMmap<AtomicBitmap>;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap())
}

fn dirty_pages(memory: &Memory) -> Vec<usize> {
    let bitmap = memory.iter().next().unwrap().bitmap();
    (0..256).filter(|page| bitmap.dirty_at(page * 4096)).collect()
}

fn bytes(memory: &Memory, at: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

fn read(
    queue: &Queue,
    memory: &Arc<Memory>,
    chain: &[(u64, usize)],
) -> Result<u64, blkalign::Error> {
    queue.read_volatile(1000, memory.clone(), 1, |memory, slices| {
        for &(address, count) in chain {
            let slice = memory.get_slice(GuestAddress(address), count);
            slices.push(slice.map_err(io::Error::other)?);
        }
        Ok(())
    })
}

#[test]
fn guest_memory_is_filled_and_marked_dirty() {
    let scene = Scene::new(8192);
    let (queue, memory) = (scene.queue(), memory());
    read(&queue, &memory, &[(8190, 5), (40960, 512), (100, 0)]).unwrap();
    assert_eq!(Arc::strong_count(&memory), 2, "the request keeps it");
    assert!(dirty_pages(&memory).is_empty());
    assert_eq!(results(&queue, 1), [(1, 0)]);
    assert_eq!(Arc::strong_count(&memory), 1);
    assert_eq!(dirty_pages(&memory), [1, 2, 10]);
    let all = pattern(8192);
    assert_eq!(bytes(&memory, 8190, 5), all[1000..1005]);
    assert_eq!(bytes(&memory, 40960, 512), all[1005..1517]);
}

#[test]
fn guest_memory_is_written_and_stays_clean() {
    let scene = Scene::new(8192);
    let (queue, memory) = (scene.queue(), memory());
    // Marks page 0; the request reads page 1, too.
    memory.write_slice(&[7; 600], GuestAddress(4096 - 600)).unwrap();
    queue
        .write_volatile(10, memory.clone(), Flags::FUA, 1, |memory, slices| {
            slices.push(memory.get_slice(GuestAddress(4096 - 600), 600).unwrap());
            slices.push(memory.get_slice(GuestAddress(4096), 600).unwrap());
            Ok(())
        })
        .unwrap();
    assert_eq!(results(&queue, 1), [(1, 0)]);
    assert_eq!(scene.contents()[10..610], [7; 600]);
    assert_eq!(dirty_pages(&memory), [0], "by the test alone: page 1 is clean");
}

#[test]
fn memory_that_cannot_be_named_fails_the_call_and_is_let_go() {
    let scene = Scene::new(8192);
    let (queue, memory) = (scene.queue(), memory());
    let error = read(&queue, &memory, &[(0, 512), (1 << 20, 1)]).unwrap_err();
    assert_eq!(error.raw_os_error(), libc::EIO);
    assert_eq!(errno(read(&queue, &memory, &[(0, 8192)])), libc::EIO, "passes the end");
    assert_eq!(Arc::strong_count(&memory), 1);
    let panics = || {
        queue.read_volatile(0, memory.clone(), 1, |memory, slices| {
            slices.push(memory.get_slice(GuestAddress(0), 1).unwrap());
            std::panic::resume_unwind(Box::new(()))
        })
    };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    assert_eq!((Arc::strong_count(&memory), queue.stats().in_flight), (1, 0));
}

#[test]
fn a_leaked_queue_keeps_the_memory_and_a_dropped_one_lets_it_go() {
    let (disk, inside) = Ram::disk(1 << 16);
    let (queue, memory) = (disk.queue().unwrap(), memory());
    read(&queue, &memory, &[(0, 512)]).unwrap();
    drop(queue);
    assert_eq!(Arc::strong_count(&memory), 1);
    assert_eq!(dirty_pages(&memory), [0], "the read was done, though nobody was told");
    let queue = disk.queue().unwrap();
    inside.close_gate();
    read(&queue, &memory, &[(0, 512)]).unwrap();
    queue.submit();
    std::mem::forget(queue);
    inside.open_gate();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(Arc::strong_count(&memory), 2);
}

#[test]
fn a_disk_reads_and_writes_slices_at_once() {
    let scene = Scene::new(8192);
    let (disk, memory) = (scene.disk(), memory());
    let slice = |at, count| memory.get_slice(GuestAddress(at), count).unwrap();
    disk.read_volatile_at(&[slice(4095, 2), slice(0, 10)], 3).unwrap();
    assert_eq!(bytes(&memory, 0, 10), pattern(8192)[5..15]);
    assert_eq!(dirty_pages(&memory), [0, 1]);
    disk.write_volatile_at(&[slice(0, 10)], 8000, Flags::empty()).unwrap();
    assert_eq!(scene.contents()[8000..8010], pattern(8192)[5..15]);
}
