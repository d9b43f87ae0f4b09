//! The structs of the header with any contents and of any size, each at the very end of its
//! allocation, at any address: what the library reads or writes beyond `size` is seen by
//! AddressSanitizer. What a caller vouches for is true: pointers are NULL or good, and the struct
//! is as long as it says, unless it says what no struct can be.

use std::ffi::{c_int, c_void, CString};
use std::mem::{offset_of, size_of};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Once;

use blkalign::capi::*;
use libc::iovec;

use crate::calls::{last_words, Disk};
use crate::input::Input;
use crate::store::Store;
use crate::store_calls::table;
use crate::throttle::throttle;

/// The library takes none for longer.
const SIZE_MAX: usize = 4096;

/// A struct at the end of an allocation.
pub struct Raw {
    memory: Box<[u8]>,
    shift: usize,
}

impl Raw {
    /// `known`: the size that this version has.
    pub fn new(input: &mut Input, known: usize) -> Raw {
        let size = match input.below(8) {
            0..=2 => known,
            3 | 4 => input.below(known + 9),
            5 => known + input.below(200),
            6 => SIZE_MAX - input.below(3),
            _ => input.below(8),
        };
        let shift = input.pick(&[0, 0, 0, 0, 1, 4, 7]);
        let mut memory = vec![0u8; shift + size.max(size_of::<usize>())].into_boxed_slice();
        let from = shift + size_of::<usize>();
        // Not so much beyond what is known: it is mostly zero.
        let until = memory.len().min(from + known + if input.one_in(4) { 30 } else { 0 });
        if input.one_in(3) {
            memory[from..until].iter_mut().for_each(|byte| *byte = input.byte());
        }
        let mut raw = Raw { memory, shift };
        // Sizes that no struct has are never believed.
        let said = if input.one_in(16) {
            input.pick(&[usize::MAX, SIZE_MAX + 1, 1 << 63, 1 << 32])
        } else {
            size
        };
        raw.set(0, &said.to_ne_bytes());
        raw
    }

    /// Sets a field, as far as it is there as a whole; a part of it becomes zero.
    pub fn set(&mut self, offset: usize, value: &[u8]) {
        let at = self.shift + offset;
        let end = (at + value.len()).min(self.memory.len());
        if at < end {
            let whole = end - at == value.len();
            self.memory[at..end].fill(0);
            if whole {
                self.memory[at..end].copy_from_slice(value);
            }
        }
    }

    /// Sets a 32-bit field to a number that the fuzzer picks.
    fn pick(&mut self, input: &mut Input, offset: usize, of: &[u32]) {
        if !input.one_in(8) {
            self.set(offset, &input.pick(of).to_ne_bytes());
        }
    }

    /// The 32-bit field, if it is there.
    fn number(&self, offset: usize) -> u32 {
        let at = self.shift + offset;
        let bytes = self.memory.get(at..at + 4);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
    }

    pub fn pointer<T>(&mut self) -> *mut T {
        self.memory[self.shift..].as_mut_ptr().cast()
    }
}

pub fn run(input: &mut Input) {
    let store = Store::new(input);
    let helper = store.helper();
    store.automatically(|| run_with(input, &store));
    store.stop();
    helper.join().expect("the helper");
}

fn run_with(input: &mut Input, store: &Store) {
    let (mut disk, mut rounds) = (None, 0);
    while !input.is_empty() && rounds < 40 {
        rounds += 1;
        match (input.below(8), disk) {
            (0 | 1, _) | (_, None) => {
                let opened = open(input, store, disk);
                if let (Some(new), Some(Disk(old))) = (opened, disk) {
                    // SAFETY: nothing of it is in flight.
                    assert_eq!(unsafe { blkalign_close(old) }, 0);
                    disk = Some(new);
                } else if disk.is_none() {
                    disk = opened;
                }
            }
            (2..=4, Some(disk)) => submit(input, disk),
            (5, Some(disk)) => fill::<blkalign_limits>(input, |into| {
                // SAFETY: an open handle, and a struct as long as it says.
                unsafe { blkalign_get_limits(disk.0, into) }
            }),
            (6, Some(disk)) => fill::<blkalign_stats>(input, |into| {
                // SAFETY: as above.
                unsafe { blkalign_get_stats(disk.0, into) }
            }),
            (_, Some(disk)) if input.one_in(2) => throttle(input, disk),
            (_, Some(disk)) => use_it(disk),
        }
    }
    if let Some(disk) = disk {
        use_it(disk);
        assert_eq!(disk.close(), 0);
    }
}

fn use_it(disk: Disk) {
    let mut bytes = [0u8; 3];
    // SAFETY: an open handle and three bytes.
    unsafe {
        let base = bytes.as_mut_ptr().cast();
        blkalign_pread(disk.0, 1, 3, base, 0);
        blkalign_pwrite(disk.0, 2, 3, base, BLKALIGN_REQ_FUA);
    }
    assert_eq!(disk.drain(), 0);
}

fn raw_options(input: &mut Input) -> Raw {
    type O = blkalign_open_options;
    let mut raw = Raw::new(input, size_of::<O>());
    let sizes = [0, 0, 512, 4096, 1, 3, 1 << 20, 1 << 21, 65536];
    raw.pick(input, offset_of!(O, flags), &[1, 1, 3, 7, 1 | 8, 1 | 16, 1 << 11, 1025, 0x2ff, 0]);
    raw.pick(input, offset_of!(O, engine), &[0, 1, 2, 0, 3]);
    raw.pick(input, offset_of!(O, completion), &[0, 1, 2, 0, 3]);
    raw.pick(input, offset_of!(O, queue_depth), &[0, 1, 64, 65536, 65537]);
    raw.pick(input, offset_of!(O, request_alignment), &sizes);
    raw.pick(input, offset_of!(O, mem_alignment), &sizes);
    raw.pick(input, offset_of!(O, segment_alignment), &sizes);
    raw.pick(input, offset_of!(O, guest_block_size), &sizes);
    // Threads are slow to make, and a thousand of them prove nothing.
    let workers = raw.number(offset_of!(O, workers));
    if (5..=1024).contains(&workers) {
        raw.set(offset_of!(O, workers), &(workers % 4).to_ne_bytes());
    }
    if !input.one_in(4) {
        raw.set(offset_of!(O, window_offset), &input.pick(&[0u64, 0, 1, 512]).to_ne_bytes());
        raw.set(offset_of!(O, window_length), &input.pick(&[0u64, 0, 1, 512]).to_ne_bytes());
    }
    raw
}

fn raw_driver(input: &mut Input, store: &Store) -> Raw {
    type D = blkalign_driver;
    let good = table(store);
    let mut raw = Raw::new(input, size_of::<D>());
    let numbers = [
        (offset_of!(D, request_alignment), good.request_alignment),
        (offset_of!(D, mem_alignment), good.mem_alignment),
        (offset_of!(D, segment_alignment), good.segment_alignment),
        (offset_of!(D, max_transfer), good.max_transfer),
        (offset_of!(D, max_segments), good.max_segments),
    ];
    for (offset, number) in numbers {
        let odd = input.pick(&[3, 1 << 21, u32::MAX]);
        // A limit that is larger than the store's would not be true.
        let limit = offset >= offset_of!(D, max_transfer) && number != 0;
        let lie = input.one_in(16) && !limit;
        raw.set(offset, &if lie { odd } else { number }.to_ne_bytes());
    }
    // Each of the others is a pointer; those of functions are null or right.
    let start = offset_of!(D, getlength);
    raw.set(offset_of!(D, name), &(good.name as usize).to_ne_bytes());
    for offset in (start..size_of::<D>()).step_by(size_of::<usize>()) {
        // SAFETY: a pointer, or an Option of one, that lies in the table.
        let function = unsafe { (&raw const good).cast::<u8>().add(offset).cast::<usize>().read() };
        let function = if input.one_in(24) { 0 } else { function };
        raw.set(offset, &function.to_ne_bytes());
    }
    raw
}

/// A file of one page that every run may open.
fn path() -> CString {
    static ONCE: Once = Once::new();
    let path = std::env::temp_dir().join(format!("blkalign-fuzz-structs-{}", std::process::id()));
    ONCE.call_once(|| {
        std::fs::write(&path, [7; 4096]).expect("a temporary file");
        // SAFETY: the function is what atexit wants.
        unsafe { libc::atexit(forget) };
    });
    CString::new(path.to_str().expect("ASCII")).expect("no NUL")
}

extern "C" fn forget() {
    let _ = std::fs::remove_file(path().to_str().expect("ASCII"));
}

/// One of the ways to open, with odd options; what it says otherwise is a matter of `operations`.
fn open(input: &mut Input, store: &Store, disk: Option<Disk>) -> Option<Disk> {
    let mut options = raw_options(input);
    let mut driver = raw_driver(input, store);
    let opts: *const blkalign_open_options =
        if input.one_in(8) { null() } else { options.pointer() };
    let mut handle = null_mut();
    let path = path();
    let how = input.below(8);
    let fd = input.pick(&[-1, 0, i32::MAX, i32::MIN]);
    // SAFETY: structs as long as they say; the store outlives its handles.
    let ret = unsafe {
        match (how, disk) {
            (0, _) => blkalign_open(path.as_ptr(), opts, &mut handle),
            (1, _) => blkalign_open(c"/nonexistent/x".as_ptr(), opts, &mut handle),
            (2, _) => blkalign_open_fd(fd, opts, &mut handle),
            (3, _) => blkalign_open(c"/".as_ptr(), opts, null_mut()),
            (4, Some(Disk(old))) => blkalign_dup(old, opts, &mut handle),
            _ => {
                let opaque = (&raw const *store).cast_mut().cast();
                blkalign_open_driver(driver.pointer(), opaque, opts, &mut handle)
            }
        }
    };
    if std::env::var_os("BLKALIGN_FUZZ_TRACE").is_some() {
        eprintln!("open {how}: {ret} {}", last_words());
    }
    assert!(ret <= 0 && (ret == 0) != handle.is_null(), "an open returns {ret}");
    assert!(ret == 0 || !last_words().is_empty(), "a failure without words");
    (ret == 0).then_some(Disk(handle))
}

/// Callbacks so far; not by `opaque`, which a short struct does not have.
static CALLS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: *mut c_void, _: c_int) {
    CALLS.fetch_add(1, Ordering::SeqCst);
}

/// An asynchronous request by an odd struct: called back if it is taken in, and else not.
pub fn submit(input: &mut Input, disk: Disk) {
    type R = blkalign_request;
    let mut raw = Raw::new(input, size_of::<R>());
    let mut memory = vec![0u8; input.below(600)];
    let mut vector: Vec<iovec> = Vec::new();
    for piece in memory.chunks_mut(1 + input.below(512)) {
        vector.push(iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() });
    }
    if input.one_in(16) {
        vector.push(iovec { iov_base: null_mut(), iov_len: input.below(2) });
    }
    let before = CALLS.load(Ordering::SeqCst);
    raw.pick(input, offset_of!(R, op), &[1, 2, 3, 4, 5, 6, 0]);
    raw.pick(input, offset_of!(R, flags), &[0, 0, 0, 1, 2, 4, 0x18, 0x20, 0x40, 0x3f]);
    raw.pick(input, offset_of!(R, guest_block_size), &[0, 0, 512, 4096, 3, 1 << 21]);
    let offset = input.pick(&[0, 0, 1, 512, -1, i64::MAX]);
    raw.set(offset_of!(R, offset), &offset.to_ne_bytes());
    let total = if input.one_in(8) { -1 } else { memory.len() as i64 };
    raw.set(offset_of!(R, bytes), &if input.one_in(4) { 0 } else { total }.to_ne_bytes());
    let given = !input.one_in(8);
    let address = if given { vector.as_ptr() as usize } else { 0 };
    let elements = if input.one_in(8) { -1 } else { vector.len() as c_int };
    raw.set(offset_of!(R, iov), &address.to_ne_bytes());
    raw.set(offset_of!(R, iovcnt), &elements.to_ne_bytes());
    let callback = if input.one_in(16) { 0 } else { count as *const () as usize };
    raw.set(offset_of!(R, cb), &callback.to_ne_bytes());
    let mut written = 0i64;
    raw.set(offset_of!(R, id), &(&raw mut written as usize).to_ne_bytes());
    // SAFETY: the struct is as long as it says; what it names stays until the handle is drained.
    let id = unsafe { blkalign_aio_submit(disk.0, raw.pointer::<R>()) };
    // SAFETY: ours; the library may have written to it behind the compiler's back.
    let written = unsafe { (&raw const written).read_volatile() };
    // A struct that ends before does not name it.
    assert!(written == 0 || written == id, "{written} is the id of {id}");
    assert_eq!(disk.drain(), 0);
    let calls = CALLS.load(Ordering::SeqCst) - before;
    assert_eq!(calls, u32::from(id > 0), "callbacks of a call that returned {id}");
}

/// A struct that the library fills: no more than `size`, zeros beyond what it knows.
fn fill<T>(input: &mut Input, call: impl FnOnce(*mut T) -> c_int) {
    let mut raw = Raw::new(input, size_of::<T>());
    let before = raw.memory.clone();
    let ret = call(raw.pointer());
    let (head, body) = (raw.shift + size_of::<usize>(), &raw.memory);
    assert_eq!(before[..head], body[..head], "`size`, and what comes before it");
    if ret != 0 {
        assert!(ret == -libc::EINVAL || ret == -libc::E2BIG, "{ret}");
        assert_eq!(before, raw.memory, "a failure that writes");
    } else if let Some(beyond) = body.get(raw.shift + size_of::<T>()..) {
        assert!(beyond.iter().all(|&byte| byte == 0), "what is not known is zero");
    }
}
