use super::*;
use crate::{Alignments, Suspected};

fn config(block: u64, last_unit: u64) -> QueueConfig {
    QueueConfig {
        alignments: Alignments { request: block, memory: 512, segment: 512 },
        max_transfer: 1 << 20,
        max_segments: 16,
        depth: 4,
        last_unit,
        last_block: 1,
        granule: block,
        copy_edges: false,
        suspected: Suspected::Nothing,
        no_flush: false,
        no_merge: false,
        resize: false,
        unmap: false,
        discard_alignment: block,
        dataless_max: 1 << 20,
        endless: u64::MAX,
        atomic_write_max: 0,
    }
}

/// Else one would use the page cache where another writes directly.
#[test]
fn the_last_block_of_all_queues_begins_at_one_place_whatever_their_own_blocks() {
    let at = |length| {
        let mut all = [config(512, 4096), config(4096, 4096), config(65536, 65536)];
        follow(all.iter_mut(), length);
        all.map(|its| its.last_block)
    };
    assert_eq!(at(98304), [65536; 3]);
    assert_eq!(at(131072), [u64::MAX; 3]);
    let mut two = [config(512, 4096), config(4096, 4096)];
    follow(two.iter_mut(), 13824);
    assert_eq!(two.map(|its| its.last_block), [12288; 2]);
    // A queue whose storage has whole blocks has no such lane.
    let mut padded = [config(512, 0)];
    follow(padded.iter_mut(), 1000);
    assert_eq!(padded[0].last_block, 1);
}
