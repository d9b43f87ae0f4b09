//! Two requests and a notifier, in every order of events.
