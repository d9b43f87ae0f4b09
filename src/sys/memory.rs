//! What the kernel says about memory.

/// The size of a page of the page cache, in bytes.
pub fn page_bytes() -> u64 {
    // SAFETY: sysconf only reads its argument.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

/// Whether the system would give so much more memory now, to any thread: what malloc has left may
/// be one thread's alone.
pub fn could_map(bytes: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever there is room, which touches nothing else.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: just mapped with this length, and no other code knows of it.
    unsafe { libc::munmap(memory, bytes) };
    true
}
