//! How far a request is with the notifiers. Data alone; `announce/mod.rs` does the work.

use crate::NotifierId;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// The request came when there was no notifier, or is one that keeps no write out.
    #[default]
    None,
    /// The request is among the writes only, and nothing of it may reach the storage.
    Before,
    /// All notifiers have let it pass, or it came before them.
    Past,
}

/// How far one request is. As long as it is `Standing::None` the rest means nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Announced {
    pub standing: Standing,
    /// A notifier has been told, and has not answered.
    pub asked: bool,
    /// The request holds the image of its block, though it has no place.
    pub keeps_image: bool,
    /// The last notifier that has answered.
    pub last: NotifierId,
    /// The notifier whose turn the request waits for, or that it has told.
    pub next: NotifierId,
    /// What the request claims among the turns.
    pub turn: (u64, u64),
    /// What `next` has been told.
    pub told: (u64, u64),
    /// What all notifiers have been told that have answered; None: no notifier has.
    pub known: Option<(u64, u64)>,
    /// Where the request keeps readers out as soon as it is past the notifiers.
    pub keeps_out: Option<(u64, u64)>,
}

impl Announced {
    /// The request will enter anew. If it is not past the notifiers it goes on where it was with
    /// them; any other is past them, also if it came before them: its bytes may be moving.
    pub fn restart(&mut self) {
        self.standing = match self.standing {
            Standing::Before => Standing::None,
            Standing::None | Standing::Past => Standing::Past,
        };
    }

    /// Notes the answer to what `next` has been told.
    pub fn answered(&mut self) {
        self.asked = false;
        self.last = self.next;
        let (start, end) = self.told;
        let known = self.known.unwrap_or((start, end));
        self.known = Some((known.0.max(start), known.1.min(end)));
    }
}
