use super::*;
use crate::io::{IoId, Slot};

fn write(slot: u32, offset: u64) -> Io {
    let segment = Segment { address: 1 << 20 | offset as usize, bytes: 512 };
    let id = IoId { slot: Slot(slot), part: 0 };
    Io { bytes: 512, segments: [segment].into_iter().collect(), ..Io::new(id, Op::Write, offset) }
}

/// As after a load of results of which one was joined: what follows on that one is joined
/// first, then with what follows on the others.
#[test]
fn joined_ios_that_are_joined_once_more_leave_none_of_their_parts_out() {
    let (mut first, mut second) = (write(0, 0), write(2, 1024));
    append(&mut first, write(1, 512));
    append(&mut second, write(3, 1536));
    append(&mut first, second);
    let slots: Vec<u32> = first.joined.iter().map(|part| part.id.slot.0).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    assert!(first.joined.iter().all(|part| part.joined.is_empty() && part.bytes == 512));
    assert_eq!(first.bytes, 2048);
}
