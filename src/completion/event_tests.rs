use super::*;
use crate::completion::Callback;

extern "C" fn nothing(_opaque: *mut std::ffi::c_void, _ret: std::ffi::c_int) {}

fn push(events: &Events, looks: bool) {
    let callback = Callback { function: nothing, opaque: std::ptr::null_mut(), on_failure: |_| {} };
    let generation = crate::completion::Completions::default().request_taken_in();
    events.push(Delivery { callback, generation, result: Ok(()) }, looks);
}

fn is_readable(events: &Events) -> bool {
    events.state.lock().fd.as_ref().unwrap().is_readable()
}

#[test]
fn a_look_signals_only_what_it_leaves() {
    let events = Events::default();
    events.descriptor().unwrap();
    let mut taken = Vec::new();
    events.begin_look();
    push(&events, true);
    push(&events, true);
    assert!(!is_readable(&events), "for each of them that would be a system call");
    assert_eq!(events.take(1, &mut taken), Left::Something);
    assert!(is_readable(&events), "another thread may take what is left");
    events.begin_look();
    assert_eq!(events.take(1, &mut taken), Left::Nothing);
    events.end_look(Left::Nothing);
    assert!(!is_readable(&events));
    events.end_look(Left::Something);
    assert!(is_readable(&events), "there is more in the ring");
    events.begin_look();
    push(&events, true);
    events.end_look(Left::Nothing);
    assert!(is_readable(&events));
    events.begin_look();
    push(&events, false);
    assert!(is_readable(&events));
}
