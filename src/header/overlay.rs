//! What `<blkalign.h>` declares for overlays.

/// Flag of blkalign_open_overlay(): what a read takes from the backing object
/// is kept, in whole clusters. Needs BLKALIGN_O_RDWR. If it cannot be written,
/// for lack of space say, the read succeeds all the same.
pub const BLKALIGN_OVERLAY_COPY_ON_READ: u32 = 1 << 0;

/// Options of an overlay. Start from BLKALIGN_OVERLAY_OPTIONS_INIT. Functions
/// that take a pointer to this struct accept NULL: all defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct blkalign_overlay_options {
    /// sizeof(blkalign_overlay_options), as the INIT macro sets it.
    pub size: usize,
    /// Any BLKALIGN_OVERLAY_* flags, combined with `|`; 0 to create.
    pub flags: u32,
    /// Bytes of a cluster: a power of two from 4 KiB to 2 MiB. 0: 64 KiB to
    /// create; to open, whatever the overlay was created with.
    pub cluster_size: u32,
}
