//! The part of an object that a handle shows.

use super::Options;

#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub offset: u64,
    /// None: to the end of the object, whatever that is.
    pub bytes: Option<u64>,
}

impl Window {
    /// None: the handle shows all of the object.
    pub fn wanted_by(options: &Options) -> Option<Window> {
        let (offset, bytes) = (options.window_offset, options.window_length);
        let whole = offset == 0 && bytes == 0;
        (!whole).then_some(Window { offset, bytes: (bytes != 0).then_some(bytes) })
    }

    /// How long the window is on an object of that length, which may end inside the window, or
    /// before it.
    pub fn length_on(self, object_length: u64) -> u64 {
        let there = object_length.saturating_sub(self.offset);
        self.bytes.map_or(there, |bytes| bytes.min(there))
    }
}
