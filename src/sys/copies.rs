//! Other copies of the library in this process: a shared one that a plugin brings, beside a static
//! one in the program, say. Copies share nothing, so two of them that have one object open would
//! undo each other's small writes. So each object is claimed, and a claim is refused while another
//! copy has one.
//!
//! Each copy has a note in its ELF file (`.note.blkalign`): where its function `claimed_here` is.
//! dl_iterate_phdr(3) leads to the notes of all that is loaded, and keeps it loaded meanwhile. No
//! system call, environment or file is involved, and nobody outside the process.
//!
//! The lock guards this copy's claims. Another copy asks for them while it is in dl_iterate_phdr;
//! nothing else is taken while the lock is held.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};

use parking_lot::Mutex;

/// What two claims for the same object have in common.
pub type Claimed = [u64; 3];

/// How many claims of this copy there are for each object.
static CLAIMS: Mutex<BTreeMap<Claimed, usize>> = Mutex::new(BTreeMap::new());

/// As long as it lives other copies are refused the object.
#[derive(Debug)]
pub struct Claim(Claimed);

/// None: another copy has the object.
pub fn claim(object: Claimed) -> Option<Claim> {
    *CLAIMS.lock().entry(object).or_insert(0) += 1;
    let claim = Claim(object);
    // Looked for after that: of two copies that claim at once each sees the other, or one does.
    (!claimed_elsewhere(&object)).then_some(claim)
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = CLAIMS.lock();
        if let Some(count) = claims.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                claims.remove(&self.0);
            }
        }
    }
}

/// What the note leads to. It stays as it is in all versions to come; another one would need a note
/// of another type.
type ClaimedHere = extern "C" fn(u64, u64, u64) -> c_int;

extern "C" fn claimed_here(kind: u64, one: u64, two: u64) -> c_int {
    CLAIMS.lock().contains_key(&[kind, one, two]).into()
}

const NOTE_NAME: &[u8] = b"blkalign\0";
const NOTE_TYPE: u32 = 1;

// Length of name and of content, type; the name; and as content the distance of the function from
// there: a note is not relocated. Linkers keep notes, whoever needs them.
std::arch::global_asm!(
    ".pushsection .note.blkalign, \"a\", %note",
    ".balign 4",
    ".4byte 9, 8, 1",
    ".asciz \"blkalign\"",
    ".balign 4",
    ".8byte {function} - .",
    ".popsection",
    function = sym claimed_here,
);

/// What a walk through the notes is about.
struct Walk<'a> {
    object: &'a Claimed,
    claimed: bool,
    /// Copies that were seen, this one among them.
    copies: usize,
}

fn walk(object: &Claimed) -> Walk<'_> {
    let mut walk = Walk { object, claimed: false, copies: 0 };
    // SAFETY: `look_at` gets `walk`, which lives through the call.
    unsafe { libc::dl_iterate_phdr(Some(look_at), (&raw mut walk).cast()) };
    walk
}

fn claimed_elsewhere(object: &Claimed) -> bool {
    walk(object).claimed
}

/// How many copies of the library this process has.
pub fn count_copies() -> usize {
    walk(&[0; 3]).copies
}

/// Looks at the notes of one ELF file. No panic can arise: it would pass through C.
unsafe extern "C" fn look_at(
    info: *mut libc::dl_phdr_info,
    _bytes: usize,
    walk: *mut c_void,
) -> c_int {
    // SAFETY: dl_iterate_phdr gives the one, `walk` the other.
    let (info, walk) = unsafe { (&*info, &mut *walk.cast::<Walk<'_>>()) };
    let headers: &[_] = match usize::from(info.dlpi_phnum) {
        // Whatever the address is.
        0 => &[],
        // SAFETY: the array has so many elements.
        count => unsafe { std::slice::from_raw_parts(info.dlpi_phdr, count) },
    };
    for header in headers {
        let end = header.p_vaddr.saturating_add(header.p_memsz);
        // Notes may be in the file alone, for debuggers.
        let is_loaded = headers.iter().any(|load| {
            load.p_type == libc::PT_LOAD
                && load.p_vaddr <= header.p_vaddr
                && end <= load.p_vaddr.saturating_add(load.p_memsz)
        });
        if header.p_type != libc::PT_NOTE || !is_loaded {
            continue;
        }
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr) as usize as *const u8;
        // SAFETY: these notes are part of what is loaded, and stay so while dl_iterate_phdr runs.
        let notes = unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) };
        let alignment = if header.p_align == 8 { 8 } else { 4 };
        let functions = Notes { rest: notes, alignment };
        for function in functions {
            walk.copies += 1;
            let is_own = std::ptr::fn_addr_eq(function, claimed_here as ClaimedHere);
            let [kind, one, two] = *walk.object;
            walk.claimed |= !is_own && function(kind, one, two) != 0;
        }
    }
    0
}

/// The functions that the notes of one ELF file lead to.
struct Notes<'a> {
    rest: &'a [u8],
    alignment: usize,
}

impl Iterator for Notes<'_> {
    type Item = ClaimedHere;

    fn next(&mut self) -> Option<ClaimedHere> {
        loop {
            let number = |at: usize| {
                let bytes = self.rest.get(at..at + size_of::<u32>())?;
                Some(u32::from_ne_bytes(bytes.try_into().ok()?))
            };
            let (name_bytes, bytes, kind) = (number(0)? as usize, number(4)? as usize, number(8)?);
            let name = self.rest.get(12..)?.get(..name_bytes)?;
            let at = (12 + name_bytes).next_multiple_of(self.alignment);
            let content = self.rest.get(at..)?.get(..bytes)?;
            self.rest =
                self.rest.get((at + bytes).next_multiple_of(self.alignment)..).unwrap_or(&[]);
            if name == NOTE_NAME && kind == NOTE_TYPE {
                let distance = i64::from_ne_bytes(content.try_into().ok()?);
                let address = content.as_ptr().wrapping_offset(distance as isize);
                // SAFETY: the note of a copy of this library leads to a function of that type.
                return Some(unsafe { std::mem::transmute::<*const u8, ClaimedHere>(address) });
            }
        }
    }
}

#[cfg(test)]
#[path = "copies_tests.rs"]
mod tests;
