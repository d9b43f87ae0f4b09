//! Before-write notifiers, as a program adds and removes them.

use std::sync::Arc;

use super::Handle;
use crate::completion::inside_callback;
pub use crate::driver::Token;
pub use crate::node::{answer_question, Change, Notify};
use crate::node::{begin_notifier, end_notifier, withdraw_notifier, Node, Notifier};
use crate::sync::Mutex;
use crate::sys::Error;

/// Ranges are rounded out to at most so much.
const UNIT_MAX: u32 = 1 << 30;

/// A notifier that was added. It belongs to the object, not to the handle: other handles of the
/// object may be open when this one has been closed.
pub struct Added {
    node: Arc<Node>,
    /// None: it was removed. The lock guards that alone.
    notifier: Mutex<Option<Arc<Notifier>>>,
}

impl Handle {
    /// Adds a notifier of all changes of the object, by whichever handle. When this returns each
    /// change that is not over has been announced to the notifier, or will be. EINVAL: the unit;
    /// EBUSY: this handle has paused the object, and what waits in the pause would be waited for;
    /// EDEADLK inside a callback or a notifier; EIO after a fault of the library.
    pub fn add_notifier(&self, unit: u32, notify: Box<dyn Notify>) -> Result<Added, Error> {
        let name = &self.endpoint.name;
        if !unit.is_power_of_two() || unit > UNIT_MAX {
            let words = format!("{name}: {unit} is no unit: a power of two, 1 to {UNIT_MAX}");
            return Err(Error::new(libc::EINVAL, words));
        }
        self.check_may_wait("adding a notifier")?;
        self.check_not_paused_here("adding a notifier")?;
        let node = self.endpoint.node.clone();
        match begin_notifier(&node, u64::from(unit), notify) {
            Ok(notifier) => Ok(Added { node, notifier: Mutex::new(Some(notifier)) }),
            Err(_) => Err(self.poisoned()),
        }
    }
}

impl Added {
    /// Returns when none of the notifier's calls is outstanding; nothing is left of it then. To be
    /// called once. EDEADLK inside a callback or a notifier: then the notifier stays.
    pub fn remove(&self) -> Result<(), Error> {
        if inside_callback() {
            let words = "removing a notifier inside a callback would wait for that callback";
            return Err(Error::new(libc::EDEADLK, words));
        }
        let notifier = self.notifier.lock().take();
        notifier.into_iter().for_each(|notifier| end_notifier(&self.node, notifier));
        Ok(())
    }

    /// Nothing more is announced to the notifier. Does not wait: its calls may still be
    /// outstanding.
    pub fn withdraw(&self) {
        let notifier = self.notifier.lock().take();
        notifier.into_iter().for_each(|notifier| withdraw_notifier(&self.node, &notifier));
    }
}
