use super::*;

impl EventFd {
    pub fn is_readable(&self) -> bool {
        let mut entry = libc::pollfd { fd: self.raw(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        unsafe { libc::poll(&raw mut entry, 1, 0) == 1 }
    }
}

#[test]
fn an_eventfd_is_readable_from_a_signal_to_the_next_clear() {
    let event = EventFd::new().unwrap();
    assert!(!event.is_readable());
    event.signal();
    event.signal();
    assert!(event.is_readable());
    event.clear();
    assert!(!event.is_readable());
}
