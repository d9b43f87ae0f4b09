//! What lies in a range of the storage: data, zeros, or nothing.

/// Of a run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockStatus {
    /// Anything, zeros perhaps.
    Data,
    /// Zeros, for which the storage has room.
    Zero,
    /// Zeros, for which the storage has no room yet: a hole.
    Hole,
}
