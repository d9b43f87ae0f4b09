//! A fill: all absent clusters are copied up, window by window.
//!
//! Example, with clusters of 64 KiB, where all of a GiB but the first 100 MiB is absent. The fill
//! claims [100 MiB, 104 MiB) and copies it, as eight pieces at once. It leaves the trackers, claims
//! [104 MiB, 108 MiB), and so on. After 64 MiB it saves the map first: if the process ends then,
//! what is saved need not be copied again. At the end the map is saved once more.

use crate::io::Slot;
use crate::table::Table;

pub struct Filling<'a, Q, T, S> {
    pub table: &'a mut Table<Q, T, S>,
}

/// What comes after a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The map is to be saved, if it is not.
    Save,
    /// The request is prepared for the next one, and has to enter for it.
    Next,
    /// Nothing is absent any more, and all of that is saved.
    None,
}

impl<Q, T, S> Filling<'_, Q, T, S> {
    /// Nothing of the present window is at the storage any more.
    pub fn after_window(&mut self, slot: Slot) -> Window {
        let Some(clusters) = &self.table.overlay else { return Window::None };
        let entry = self.table.known(slot);
        let unsaved = entry.overlaid.as_ref().map_or(0, |overlaid| overlaid.unsaved_bytes);
        let (offset, length) = (entry.end(), clusters.length());
        let next = clusters.first_absent(offset, length);
        if (next == length || unsaved >= clusters.save_after) && !clusters.is_all_saved() {
            return Window::Save;
        }
        self.next_window(slot)
    }

    /// As `after_window`, when the map has just been saved.
    pub fn next_window(&mut self, slot: Slot) -> Window {
        let Some(clusters) = &self.table.overlay else { return Window::None };
        let (length, window) = (clusters.length(), clusters.window);
        let next = clusters.first_absent(self.table.known(slot).end(), length);
        if next == length {
            return Window::None;
        }
        let entry = self.table.entry(slot);
        entry.overlaid().unsaved_bytes = 0;
        (entry.request.offset, entry.request.bytes) = (next, window.min(length - next));
        Window::Next
    }
}
