//! The requests of one queue.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::Duration;

use blkalign::{Error, Flags, Queue};
use block::async_io::{AsyncIo, AsyncIoCompletion, AsyncIoError, AsyncIoOperation, AsyncIoResult};
use slab::Slab;
use vmm_sys_util::eventfd::EventFd;

/// What is in flight, by the number that the library has for it. Operations keep their memory.
enum InFlight {
    Data(AsyncIoOperation),
    /// Without memory: the VMM's number for it.
    Other(u64),
}

pub struct Engine {
    storage: blkalign::Disk,
    /// The queue's own descriptor. The VMM reads it when it is readable, and then asks for all
    /// that is over.
    notifier: EventFd,
    /// Dropped before what is in flight, which it waits for.
    queue: Queue,
    in_flight: Slab<InFlight>,
    over: VecDeque<AsyncIoCompletion>,
}

impl Engine {
    /// The disk's own options, but for the depth.
    pub fn new(storage: &blkalign::Disk, depth: u32) -> io::Result<Engine> {
        let queue = storage.queue_with(storage.options().queue_depth(depth))?;
        let notifier = queue.event_fd()?.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: an eventfd that nobody else owns.
        let notifier = unsafe { EventFd::from_raw_fd(notifier) };
        let (in_flight, over) = (Slab::new(), VecDeque::new());
        Ok(Engine { storage: storage.clone(), notifier, queue, in_flight, over })
    }

    /// Puts an operation into the batch. An error gives it back.
    fn queue_data(&mut self, operation: AsyncIoOperation) -> Result<(), (AsyncIoOperation, Error)> {
        // A negative offset is beyond what the library takes, too.
        let offset = operation.offset() as u64;
        let reads = operation.is_read();
        let entry = self.in_flight.vacant_entry();
        let number = entry.key() as u64;
        let InFlight::Data(operation) = entry.insert(InFlight::Data(operation)) else {
            unreachable!("was just put there");
        };
        // SAFETY: the operation keeps the memory that its iovecs name, and stays in `in_flight`
        // until the library has told of it. The queue is dropped first, and waits.
        let result = unsafe {
            match reads {
                true => self.queue.read_vectored(offset, operation.iovecs(), number),
                false => {
                    self.queue.write_vectored(offset, operation.iovecs(), Flags::empty(), number)
                }
            }
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match self.in_flight.remove(number as usize) {
                InFlight::Data(operation) => Err((operation, error)),
                InFlight::Other(_) => unreachable!("was just put there"),
            },
        }
    }

    /// Starts a request without memory.
    fn start_other(
        &mut self,
        user_data: u64,
        start: impl FnOnce(&Queue, u64) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let number = self.in_flight.insert(InFlight::Other(user_data));
        if let Err(error) = start(&self.queue, number as u64) {
            self.in_flight.remove(number);
            return Err(error);
        }
        self.queue.submit();
        Ok(())
    }
}

impl AsyncIo for Engine {
    fn notifier(&self) -> &EventFd {
        &self.notifier
    }

    fn submit_data_operation(&mut self, op: AsyncIoOperation) -> AsyncIoResult<()> {
        let reads = op.is_read();
        let result = self.queue_data(op);
        self.queue.submit();
        result.map_err(|(_, error)| match reads {
            true => AsyncIoError::ReadVectored(os_error(&error)),
            false => AsyncIoError::WriteVectored(os_error(&error)),
        })
    }

    fn fsync(&mut self, user_data: Option<u64>) -> AsyncIoResult<()> {
        let result = match user_data {
            Some(user_data) => self.start_other(user_data, |queue, number| queue.flush(number)),
            None => self.storage.flush(),
        };
        result.map_err(|error| AsyncIoError::Fsync(os_error(&error)))
    }

    /// The VMM also does zero writes with the UNMAP flag by this, so it has to leave zeros.
    fn punch_hole(&mut self, offset: u64, length: u64, user_data: u64) -> AsyncIoResult<()> {
        let start =
            |queue: &Queue, number| queue.write_zeroes(offset, length, Flags::MAY_UNMAP, number);
        let result = self.start_other(user_data, start);
        result.map_err(|error| AsyncIoError::PunchHole(os_error(&error)))
    }

    fn write_zeroes(&mut self, offset: u64, length: u64, user_data: u64) -> AsyncIoResult<()> {
        let start =
            |queue: &Queue, number| queue.write_zeroes(offset, length, Flags::empty(), number);
        let result = self.start_other(user_data, start);
        result.map_err(|error| AsyncIoError::WriteZeroes(os_error(&error)))
    }

    fn next_completed_request(&mut self) -> Option<AsyncIoCompletion> {
        let Engine { queue, in_flight, over, .. } = self;
        if over.is_empty() {
            // A failure of the library itself is told by its log.
            let _ = queue.poll(Some(Duration::ZERO), |number, result| {
                over.push_back(completion(in_flight.remove(number as usize), result));
            });
        }
        over.pop_front()
    }

    fn batch_requests_enabled(&self) -> bool {
        true
    }

    /// All of them go out as one batch: small writes to one block become one write. What the
    /// library refuses at once is told as a completion, so the batch as a whole does not fail.
    fn submit_batch_requests(&mut self, batch_request: Vec<AsyncIoOperation>) -> AsyncIoResult<()> {
        let mut refused = false;
        for operation in batch_request {
            if let Err((operation, error)) = self.queue_data(operation) {
                self.over.push_back(completion(InFlight::Data(operation), Err(error)));
                refused = true;
            }
        }
        self.queue.submit();
        if refused {
            self.notifier.write(1).map_err(AsyncIoError::SubmitBatchRequests)?;
        }
        Ok(())
    }

    /// Any memory will do.
    fn alignment(&self) -> u64 {
        1
    }
}

fn completion(request: InFlight, result: Result<(), Error>) -> AsyncIoCompletion {
    let errno = result.err().map(|error| -error.raw_os_error());
    match request {
        InFlight::Data(operation) => {
            let bytes = i32::try_from(operation.total_len()).unwrap_or(i32::MAX);
            AsyncIoCompletion::from_operation(operation, errno.unwrap_or(bytes))
        }
        InFlight::Other(user_data) => AsyncIoCompletion::new(user_data, errno.unwrap_or(0), None),
    }
}

fn os_error(error: &Error) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error())
}
