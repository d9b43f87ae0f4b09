//! A queue of the device: requests come from the kernel by a ring (libublk's, of this thread), go
//! to a queue of the library, and their results go back.
//!
//! What has come at once goes to the library as one batch, so that small writes to one block become
//! one. The library's results make its descriptor readable, which the ring polls.
//!
//! Memory: each request of the kernel has a tag and a buffer of that tag. The kernel copies there
//! before it hands out a write, and from there when a read is committed. In between the library has
//! it. `bufs` outlives the library's queue, which waits for its requests when it is dropped.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::time::Duration;

use blkalign::{Flags, Queue};
use io_uring::{opcode, types};
use libublk::helpers::IoBuf;
use libublk::io::{UblkDev, UblkIOCtx, UblkQueue};
use libublk::{sys, BufDesc, BufDescList, UblkError, UblkIORes};

use crate::parameters::SECTOR;

/// Of the poll of the library's descriptor; no request of the kernel has it.
const RESULTS: u64 = 1 << 63;

/// Serves until the device is stopped.
pub fn run(id: u16, device: &UblkDev, queue: Queue) -> Result<(), UblkError> {
    let bufs = device.alloc_queue_io_bufs();
    let fetching = BufDescList::Slices(Some(&bufs));
    let kernel = UblkQueue::new(id, device)?.submit_fetch_commands_unified(fetching)?;
    let server = Server { kernel: &kernel, bufs: &bufs, queue, asked: Cell::new(false) };
    loop {
        server.ask_for_results()?;
        let came =
            kernel.flush_and_wake_io_tasks(|data, entry, _| server.take(data, entry.result()), 1);
        match came {
            Ok(_) => server.give_back(),
            Err(UblkError::QueueIsDown) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// The library's queue is declared, and so dropped, before the buffers are.
struct Server<'a> {
    kernel: &'a UblkQueue<'a>,
    queue: Queue,
    bufs: &'a [IoBuf<u8>],
    /// Does the ring poll the library's descriptor?
    asked: Cell<bool>,
}

impl Server<'_> {
    fn ask_for_results(&self) -> Result<(), UblkError> {
        if self.asked.replace(true) {
            return Ok(());
        }
        let fd =
            self.queue.event_fd().map_err(|error| UblkError::OtherError(-error.raw_os_error()))?;
        let poll = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), libc::POLLIN as u32);
        self.kernel.ublk_submit_sqe_sync(poll.build().user_data(RESULTS))
    }

    /// An entry of the ring: a request, or there are results.
    fn take(&self, data: u64, result: i32) {
        if data & RESULTS != 0 {
            self.asked.set(false);
        } else if result == sys::UBLK_IO_RES_OK as i32 {
            let tag = UblkIOCtx::user_data_to_tag(data) as u16;
            if let Err(errno) = self.start(tag) {
                self.commit(tag, Err(errno));
            }
        }
    }

    /// Hands a request to the library, into the batch, or says why not, as an errno.
    fn start(&self, tag: u16) -> Result<(), i32> {
        let request = self.kernel.get_iod(tag);
        let offset = request.start_sector * SECTOR;
        let bytes = self.bytes(tag);
        let user_data = u64::from(tag);
        let memory = libc::iovec {
            iov_base: self.bufs[usize::from(tag)].as_mut_ptr().cast(),
            iov_len: bytes as usize,
        };
        let mut flags = Flags::empty();
        flags.set(Flags::FUA, request.op_flags & sys::UBLK_IO_F_FUA != 0);
        let begun = match request.op_flags & 0xff {
            // SAFETY: the buffer of the tag has the length of the longest request, is nobody's
            // until the request is committed, and outlives the queue.
            sys::UBLK_IO_OP_READ => unsafe {
                self.queue.read_vectored(offset, &[memory], user_data)
            },
            // SAFETY: as above; the kernel has filled it.
            sys::UBLK_IO_OP_WRITE => unsafe {
                self.queue.write_vectored(offset, &[memory], flags, user_data)
            },
            sys::UBLK_IO_OP_FLUSH => self.queue.flush(user_data),
            sys::UBLK_IO_OP_DISCARD => self.queue.discard(offset, bytes, user_data),
            sys::UBLK_IO_OP_WRITE_ZEROES => {
                flags.set(Flags::MAY_UNMAP, request.op_flags & sys::UBLK_IO_F_NOUNMAP == 0);
                self.queue.write_zeroes(offset, bytes, flags, user_data)
            }
            _ => return Err(libc::EOPNOTSUPP),
        };
        begun.map(|_| ()).map_err(|error| error.raw_os_error())
    }

    fn bytes(&self, tag: u16) -> u64 {
        u64::from(self.kernel.get_iod(tag).nr_sectors) * SECTOR
    }

    /// The batch goes out, and what is over goes back. What isn't, makes the descriptor readable.
    fn give_back(&self) {
        let told = self.queue.poll(Some(Duration::ZERO), |tag, result| {
            self.commit(tag as u16, result.map_err(|error| error.raw_os_error()))
        });
        // After a fault of the library its requests are told all the same.
        if let Err(error) = told {
            eprintln!("blkalign-ublk: {error}");
        }
    }

    fn commit(&self, tag: u16, result: Result<(), i32>) {
        let result = match result {
            Ok(()) => self.bytes(tag) as i32,
            Err(errno) => -errno,
        };
        let buffer = BufDesc::Slice(self.bufs[usize::from(tag)].as_slice());
        let result = Ok(UblkIORes::Result(result));
        if let Err(error) = self.kernel.complete_io_cmd_unified(tag, buffer, result) {
            eprintln!("blkalign-ublk: a result could not be given to the kernel: {error}");
        }
    }
}
