//! What the kernel says about memory.

use once_cell::sync::Lazy;

/// The size of a page of the page cache, in bytes.
pub fn page_bytes() -> u64 {
    static PAGE_BYTES: Lazy<u64> = Lazy::new(|| {
        // SAFETY: sysconf only reads its argument.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        u64::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
    });
    *PAGE_BYTES
}
