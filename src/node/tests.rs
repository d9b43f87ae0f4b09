//! What comes of requests when the request machine panics: always one result, never two.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::*;
use crate::completion::{Callback, CompletionMode};
use crate::driver::{Driver, Op, Segments};
use crate::engine::PoolOwner;
use crate::sys::Error;
use blkalign_machine::{RequestFlags, Suspected};

/// Never asked to do anything here.
struct Idle;

impl Driver for Idle {
    fn perform(&self, _io: &Io) -> Result<u64, i32> {
        unreachable!("the test carries out no I/O")
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(1 << 20)
    }
}

const LIMITS: QueueConfig = QueueConfig {
    alignments: Alignments { request: 4096, memory: 512, segment: 512 },
    max_transfer: 1 << 20,
    max_segments: 16,
    depth: 4,
    last_block: u64::MAX,
    last_unit: 0,
    granule: 4096,
    copy_edges: false,
    suspected: Suspected::Nothing,
    no_flush: false,
    no_merge: false,
    resize: false,
    unmap: false,
    discard_alignment: 4096,
    atomic_write_max: 0,
    endless: 0,
    dataless_max: 1 << 30,
};

extern "C" fn no_callback(_opaque: *mut c_void, _ret: c_int) {
    unreachable!("the test runs no callback")
}

struct Bed {
    node: Arc<Node>,
    endpoint: Arc<Endpoint>,
    actions: Actions,
    /// The flush at the storage.
    flush: RequestId,
    _pool: PoolOwner<Work>,
}

impl Bed {
    /// With one flush at the storage.
    fn new() -> Bed {
        let node = Arc::new(Node::new(1 << 20));
        let pool = PoolOwner::new(1);
        let driver = Arc::new(Idle);
        let name = "test".to_owned();
        let endpoint = Endpoint::new(
            node.clone(),
            driver,
            pool.pool().clone(),
            None,
            CompletionMode::Eventfd,
            name,
            0,
        );
        let endpoint = Arc::new(endpoint);
        endpoint.set_id(node.add_queue(&endpoint, LIMITS));
        let mut bed = Bed { node, endpoint, actions: Actions::new(), flush: 0, _pool: pool };
        bed.flush = bed.submit(bed.endpoint.id(), Op::Flush, 0).expect("taken in");
        assert_eq!(bed.completed(), []);
        bed
    }

    /// A request without memory, whatever `bytes` says: that is a fault of whoever makes one.
    fn submit(&mut self, endpoint: QueueId, op: Op, bytes: u64) -> Option<RequestId> {
        let callback =
            Callback { function: no_callback, opaque: std::ptr::null_mut(), on_failure: |_| {} };
        let generation = self.endpoint.completions.request_taken_in();
        let began = self.endpoint.latency.begin();
        let token = Owner::Callback(self.endpoint.clone(), callback, generation, None, began);
        let segments = Segments::new();
        let request = Request {
            op,
            flags: RequestFlags::default(),
            guest_block: 0,
            offset: 0,
            bytes,
            segments,
            token,
        };
        self.node.submit(endpoint, 0, request, &mut self.actions, |_| {})
    }

    /// Those among the actions.
    fn completed(&self) -> Vec<(RequestId, Result<(), i32>)> {
        let completed = |action: &Action| match action {
            Action::Complete(completion) => Some((completion.id, completion.result)),
            Action::Io(..) | Action::Announce(..) | Action::Probe(..) | Action::Stalled(..) => None,
        };
        self.actions.iter().filter_map(completed).collect()
    }
}

/// As a handle does when it closes: else queue and node keep each other for ever.
impl Drop for Bed {
    fn drop(&mut self) {
        self.node.remove_queue(self.endpoint.id());
    }
}

#[test]
fn a_request_at_which_the_machine_panics_gets_one_result() {
    let mut bed = Bed::new();
    let read = bed.submit(bed.endpoint.id(), Op::Read, 100).expect("it gets a completion");
    assert_eq!(bed.completed(), [(bed.flush, Err(libc::EIO)), (read, Err(libc::EIO))]);
    assert_eq!(bed.submit(bed.endpoint.id(), Op::Flush, 0), None, "it takes no more");
    assert_eq!(bed.completed().len(), 2);
}

#[test]
fn a_request_that_never_came_in_gets_an_error_and_no_completion() {
    let mut bed = Bed::new();
    assert_eq!(bed.submit(7, Op::Flush, 0), None);
    assert_eq!(bed.completed(), [(bed.flush, Err(libc::EIO))]);
    assert!(bed.node.is_poisoned());
}

#[test]
fn a_request_that_its_caller_does_is_the_youngest() {
    let mut bed = Bed::new();
    assert_eq!(bed.node.last_id(), bed.flush);
    let segment = blkalign_machine::Segment { address: 1 << 20, bytes: 4096 };
    let mut request = Request {
        op: Op::Read,
        flags: RequestFlags::default(),
        guest_block: 0,
        offset: 0,
        bytes: 4096,
        segments: Segments::from_slice(&[segment]),
        token: (),
    };
    let queue = bed.endpoint.id();
    let io = bed.node.submit_for_caller(queue, 0, &mut request, &mut bed.actions);
    let io = io.expect("one I/O, and no conflict");
    assert!(bed.node.last_id() > bed.flush);
    assert!(bed.node.done_by_caller(&io, &mut bed.actions));
    assert_eq!(bed.completed(), []);
    // A panic hands the bed's flush back, so that the queue can go.
    assert_eq!(bed.submit(7, Op::Flush, 0), None);
    assert_eq!(bed.completed(), [(bed.flush, Err(libc::EIO))]);
}
