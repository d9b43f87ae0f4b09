use super::*;

#[test]
fn this_copy_finds_itself_and_refuses_itself_nothing() {
    assert_eq!(count_copies(), 1, "the linker keeps the note");
    let object = [7, u64::MAX, 1];
    let one = claim(object).unwrap();
    let two = claim(object).unwrap();
    assert_eq!(claimed_here(7, u64::MAX, 1), 1);
    assert_eq!(claimed_here(7, u64::MAX, 2), 0);
    drop(one);
    assert_eq!(claimed_here(7, u64::MAX, 1), 1);
    drop(two);
    assert_eq!(claimed_here(7, u64::MAX, 1), 0);
}

#[test]
fn notes_that_are_not_loaded_are_not_looked_at() {
    // SAFETY: both are plain numbers and pointers.
    let (mut header, mut info): (libc::Elf64_Phdr, libc::dl_phdr_info) =
        unsafe { std::mem::zeroed() };
    header.p_type = libc::PT_NOTE;
    // No program has memory there.
    header.p_vaddr = 8;
    header.p_memsz = 64;
    info.dlpi_phdr = &raw const header;
    info.dlpi_phnum = 1;
    let mut walk = Walk { object: &[0; 3], claimed: false, copies: 0 };
    // SAFETY: as dl_iterate_phdr calls it, with a walk.
    unsafe { look_at(&raw mut info, size_of_val(&info), (&raw mut walk).cast()) };
    assert_eq!(walk.copies, 0);
}

fn note(name: &[u8], kind: u32, content: &[u8], alignment: usize) -> Vec<u8> {
    let mut note = Vec::new();
    for number in [name.len() as u32, content.len() as u32, kind] {
        note.extend(number.to_ne_bytes());
    }
    note.extend(name);
    note.resize(note.len().next_multiple_of(alignment), 0xff);
    note.extend(content);
    note.resize(note.len().next_multiple_of(alignment), 0xff);
    note
}

#[test]
fn notes_of_others_are_passed_over_and_broken_ones_end_the_walk() {
    for alignment in [4, 8] {
        let ours = note(NOTE_NAME, NOTE_TYPE, &0i64.to_ne_bytes(), alignment);
        let count = |notes: &[u8]| Notes { rest: notes, alignment }.count();
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&ours), 1);
        let odd = note(b"GNU\0", 1, &[1, 2, 3, 4, 5], alignment);
        let newer = note(NOTE_NAME, NOTE_TYPE + 1, &[1], alignment);
        assert_eq!(count(&[&odd[..], &ours, &newer, &ours].concat()), 2);
        for bytes in 0..ours.len() {
            assert_eq!(count(&ours[..bytes]), 0, "{bytes}");
        }
        let endless = note(b"", 1, &[], alignment);
        assert_eq!(count(&endless.repeat(5)), 0);
        let mut broken = odd.clone();
        broken[4..8].fill(0xff);
        assert_eq!(count(&[&broken[..], &ours].concat()), 0);
    }
}
