use super::*;

fn segment(memory: &[u8]) -> Segment {
    Segment { address: memory.as_ptr() as usize, bytes: memory.len() }
}

#[test]
fn a_copy_is_one_piece_where_it_was_asked_for() {
    let (head, tail) = (vec![1; 700], vec![2; 4000]);
    let segments = [segment(&head), segment(&tail), segment(&head)];
    let copy = StableCopy::new(&segments, 5400, 4096, 512).unwrap();
    drop((head, tail));
    let data = copy.data();
    assert_eq!((data.address % 4096, data.bytes), (512, 5400));
    // SAFETY: it is the copy's memory, which lives.
    let data = unsafe { std::slice::from_raw_parts(data.address as *const u8, data.bytes) };
    assert!(data[..700] == [1; 700] && data[700..4700] == [2; 4000] && data[4700..] == [1; 700]);
}

#[test]
fn no_memory_is_an_answer() {
    // Nothing is read: it fails before.
    for bytes in [1 << 62, usize::MAX - 100, isize::MAX as usize] {
        assert!(StableCopy::new(&[], bytes, 4096, 512).is_none());
    }
}
