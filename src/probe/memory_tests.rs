use super::*;

const PAGE: usize = 4096;

fn addresses(memory: &mut TrialMemory) -> Vec<Range<usize>> {
    let range = |slice: IoSliceMut<'_>| {
        let begin = slice.as_ptr() as usize;
        begin..begin + slice.len()
    };
    memory.slices().into_iter().map(range).collect()
}

/// All that `check` is to hold for: lengths, block, memory alignment, page.
fn for_every_layout(check: impl Fn(&mut TrialMemory, &[usize], usize, usize, usize)) {
    for page in [PAGE, 65536] {
        for block in [1, 512, PAGE, 65536] {
            for mem in [1, 4, 512, 2048, PAGE, 65536] {
                for lengths in [vec![block], vec![block; 2], vec![block / 4, block, 1]] {
                    let mut memory = TrialMemory::new(&lengths, block, mem, page);
                    check(&mut memory, &lengths, block, mem, page);
                }
            }
        }
    }
}

#[test]
fn elements_lie_at_odd_multiples_of_the_alignment_and_share_no_page() {
    for_every_layout(|memory, lengths, _, mem, page| {
        let addresses = addresses(memory);
        assert_eq!(addresses.len(), lengths.len());
        for (at, bytes) in addresses.iter().zip(lengths) {
            assert_eq!((at.start % (2 * mem), at.len()), (mem, *bytes));
        }
        for pair in addresses.windows(2) {
            assert!(pair[0].end.next_multiple_of(page) < pair[1].start);
        }
    });
}

#[test]
fn the_first_element_crosses_the_end_of_a_page_where_its_length_allows_that() {
    for_every_layout(|memory, lengths, _, mem, page| {
        if mem < page && mem < lengths[0] {
            let first = &addresses(memory)[0];
            assert!(first.start.next_multiple_of(page) < first.end);
            assert_ne!(first.start % page, 0);
        }
    });
}

#[test]
fn a_block_and_a_page_around_the_pages_of_each_element_are_ours() {
    for_every_layout(|memory, _, block, _, page| {
        let begin = memory.memory.as_ptr() as usize + memory.first;
        let end = begin + memory.canary.len();
        assert!(begin + memory.canary.len() <= begin - memory.first + memory.memory.len());
        assert_eq!(begin % page, 0);
        for at in addresses(memory) {
            let pages = at.start / page * page..at.end.next_multiple_of(page);
            assert!(pages.start - begin >= page.max(block), "{pages:x?} from {begin:x}");
            assert!(end - pages.end >= page.max(block), "{pages:x?} to {end:x}");
        }
    });
}

/// Whether all is well when something writes to the memory after the read.
fn after(write: impl Fn(&mut [u8], &[Range<usize>])) -> bool {
    let expected: Vec<u8> = (0..=255).cycle().take(PAGE).collect();
    let mut memory = TrialMemory::new(&[512, 3072, 512], PAGE, 512, PAGE);
    memory.fill(&expected, PAGE);
    let mut from = expected.as_slice();
    for mut slice in memory.slices() {
        let (now, later) = from.split_at(slice.len());
        slice.copy_from_slice(now);
        from = later;
    }
    assert_eq!(memory.content(PAGE), expected);
    let (elements, used) = (memory.elements.clone(), memory.first);
    write(&mut memory.memory[used..], &elements);
    memory.holds(&expected) && memory.is_unharmed()
}

#[test]
fn every_single_byte_inside_and_around_the_elements_is_watched() {
    assert!(after(|_, _| {}));
    assert!(!after(|memory, _| memory[0] ^= 1));
    for index in 0..3 {
        assert!(!after(|memory, elements| memory[elements[index].start - 1] ^= 1));
        assert!(!after(|memory, elements| memory[elements[index].start] ^= 1));
        assert!(!after(|memory, elements| memory[elements[index].end - 1] ^= 1));
        assert!(!after(|memory, elements| memory[elements[index].end] ^= 1));
    }
}

#[test]
fn nothing_is_as_it_should_be_before_the_read() {
    for byte in [0, 255, 7] {
        let expected = vec![byte; PAGE];
        let mut memory = TrialMemory::new(&[512, 3072, 512], PAGE, 512, PAGE);
        memory.fill(&expected, PAGE);
        assert!(memory.memory[memory.first..][..memory.canary.len()]
            .iter()
            .all(|found| *found != byte));
        assert!(memory.is_unharmed() && !memory.holds(&expected));
    }
}

#[test]
fn past_the_end_of_the_object_elements_may_hold_anything() {
    let mut memory = TrialMemory::new(&[PAGE], PAGE, 512, PAGE);
    memory.fill(&[7; 700], PAGE);
    memory.slices()[0].fill(7);
    assert!(memory.holds(&[7; 700]) && memory.is_unharmed());
    assert_eq!(memory.content(700), [7; 700]);
}
