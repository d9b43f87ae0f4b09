use std::sync::mpsc::{channel, Receiver};
use std::thread;
use std::time::Duration;

use super::*;

/// There is one hook, and tests run side by side: each takes its turn, and hears what the
/// others happen to say, too.
static TURN: Mutex<()> = Mutex::new(());

fn heard(level: Level) -> Receiver<(Level, String)> {
    let (say, said) = channel();
    let function = move |level, words: &CStr| {
        let _ = say.send((level, words.to_str().unwrap().to_owned()));
    };
    set_hook(Some((level, Box::new(function))));
    said
}

/// What was said from here on, of what begins with "t:".
fn ours(said: &Receiver<(Level, String)>) -> Vec<(Level, String)> {
    said.try_iter().filter(|(_, words)| words.starts_with("t:")).collect()
}

fn say_all() {
    error!("t: {}", 1);
    warning!("t: {}", 2);
    info!("t: {}", 3);
    debug!("t: {}", 4);
}

#[test]
fn a_hook_hears_its_level_and_what_is_more_severe() {
    let _turn = TURN.lock();
    let levels = [Level::Error, Level::Warning, Level::Info, Level::Debug];
    for wanted in levels {
        let said = heard(wanted);
        say_all();
        let said: Vec<Level> = ours(&said).into_iter().map(|(level, _)| level).collect();
        assert_eq!(said, levels[..wanted as usize]);
    }
    set_hook(None);
    let put_into_words = Cell::new(false);
    error!("{}", {
        put_into_words.set(true);
        "t: nobody hears this"
    });
    assert!(!put_into_words.get());
}

#[test]
fn a_message_is_one_line_without_control_characters() {
    let _turn = TURN.lock();
    let said = heard(Level::Error);
    error!("t: a\nb\0c\x1b[1md\u{9b}é");
    set_hook(None);
    assert_eq!(ours(&said), [(Level::Error, "t: a?b?c?[1md?é".to_owned())]);
}

#[test]
fn a_message_from_inside_the_hook_is_lost() {
    let _turn = TURN.lock();
    let (say, said) = channel();
    set_hook(Some((
        Level::Error,
        Box::new(move |level, words| {
            error!("t: again");
            let _ = say.send((level, words.to_str().unwrap().to_owned()));
        }),
    )));
    error!("t: once");
    error!("t: twice");
    set_hook(None);
    let said: Vec<String> = ours(&said).into_iter().map(|(_, words)| words).collect();
    assert_eq!(said, ["t: once", "t: twice"]);
}

#[test]
fn whoever_takes_a_hook_away_waits_for_its_calls_to_return() {
    let _turn = TURN.lock();
    let (entered, inside) = channel();
    let (leave, left) = channel::<()>();
    let (entered, left) = (Mutex::new(entered), Mutex::new(left));
    let function = move |_: Level, words: &CStr| {
        if words.to_bytes() == b"t: slow" {
            entered.lock().send(()).unwrap();
            let _ = left.lock().recv();
        }
    };
    set_hook(Some((Level::Error, Box::new(function))));
    let speaker = thread::spawn(|| error!("t: slow"));
    inside.recv().unwrap();
    let (done, is_done) = channel();
    let taker = thread::spawn(move || {
        set_hook(None);
        done.send(()).unwrap();
    });
    let early = is_done.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "it did not wait");
    leave.send(()).unwrap();
    is_done.recv_timeout(Duration::from_secs(10)).expect("it waits for nothing");
    speaker.join().unwrap();
    taker.join().unwrap();
}

#[test]
fn a_hook_may_take_itself_away() {
    let _turn = TURN.lock();
    let (say, said) = channel();
    set_hook(Some((
        Level::Error,
        Box::new(move |_, words| {
            set_hook(None);
            let _ = say.send((Level::Error, words.to_str().unwrap().to_owned()));
        }),
    )));
    error!("t: once");
    error!("t: never");
    assert_eq!(ours(&said).len(), 1);
}

/// Something that a hook owns, and that uses the library when it is dropped.
struct Speaks;

impl Drop for Speaks {
    fn drop(&mut self) {
        error!("t: dropped");
    }
}

/// A hook that owns `Speaks`, and does that when it is called.
fn speaks_when_dropped(then: impl Fn() + Send + Sync + 'static) {
    let speaks = Speaks;
    let function = move |_: Level, _: &CStr| {
        let _owned = &speaks;
        then();
    };
    set_hook(Some((Level::Error, Box::new(function))));
}

/// Fails where `body` hangs.
fn within_ten_seconds<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, is_done) = channel();
    thread::spawn(move || done.send(body()));
    is_done.recv_timeout(Duration::from_secs(10)).expect("it comes to an end")
}

#[test]
fn what_a_hook_owns_may_speak_when_it_goes() {
    let _turn = TURN.lock();
    let said = within_ten_seconds(|| {
        speaks_when_dropped(|| ());
        heard(Level::Error)
    });
    set_hook(None);
    assert_eq!(ours(&said), [(Level::Error, "t: dropped".to_owned())]);
}

#[test]
fn what_a_hook_owns_may_speak_when_the_hook_takes_itself_away() {
    let _turn = TURN.lock();
    within_ten_seconds(|| {
        speaks_when_dropped(|| set_hook(None));
        error!("t: once");
    });
}
