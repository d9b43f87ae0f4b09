//! Proves the checker: a request machine with one mistake in it is found out, each for a right
//! reason, and the same machine without it is not.

use super::random::run_schedule;
use super::reference::Reference;

/// The mistakes; each is made in `reference.rs` or `reference_ios.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    NoWait,
    NoWaitForOtherQueues,
    NoTailRead,
    IgnoredEdgeError,
    CompletesBeforeItsLastWrite,
    CompletesTwice,
    NeverCompletes,
    CopiesOneByteLess,
    ShortWriteNotResumed,
    ShortReadNotResumed,
    ResumesMisaligned,
    ScratchLeaked,
    ScratchGivenTooEarly,
    NoDepthLimit,
    ReadsWait,
    LastBlockIsDirect,
    IgnoredWriteError,
    FailedFlushForgotten,
    InterruptedFlushIsDone,
    FuaForgotten,
    PluggedStartsAtOnce,
    PluggedEntersInReverse,
    NowOvertakesPlugged,
    PlugDoesNotNest,
    UnplugForgetsTheLast,
    PlugHoldsOthersBack,
    UnplugSubmitsOthers,
    EdgesBeforeTheMiddle,
    DiscardRoundedOutwards,
    RefusedZeroesAreDone,
    RefusedZeroesAskedAgain,
    ZeroesNotExclusive,
    ZeroesRoundedOutwards,
    ZeroesWithoutFallback,
    RefusedDiscardIsAFailure,
    SerialisingIgnored,
    SerialisingExcludesWritesOnly,
    GuestBlocksIgnored,
    NoWaitWaits,
    NoWaitIsBusyForNothing,
    NoWaitLeavesATrace,
    CancelsAtTheStorage,
    CancelForgetsTheCallback,
    CancelledStillExcludes,
    CancelLetsOthersPass,
    CancelIsBusyWhileWaiting,
    CancelsForOtherQueues,
    CancelAllForgetsThePlugged,
    HeldIsPlugged,
    LetsGoInReverse,
    LetsGoOneTooFew,
    LetsGoOfAll,
    LetGoPassesThePlug,
}

/// The first complaint about a machine with this flaw, among `seeds` schedules.
fn complaint(flaw: Flaw, seeds: u64) -> Option<String> {
    (1..=seeds).find_map(|seed| {
        run_schedule(seed, false, |pool, scenario| Reference::new(pool, scenario, flaw)).err()
    })
}

#[test]
fn a_machine_without_flaw_passes() {
    assert_eq!(complaint(Flaw::None, 3000), None);
}

#[test]
fn every_flaw_is_found() {
    let flaws = [
        (Flaw::NoWait, "does not wait|NO_WAIT request"),
        (Flaw::NoWaitForOtherQueues, "does not wait|NO_WAIT request"),
        (Flaw::NoTailRead, "changes its neighbour"),
        (Flaw::IgnoredEdgeError, "though an edge read failed|after an error"),
        (Flaw::CompletesBeforeItsLastWrite, "not in flight"),
        (Flaw::CompletesTwice, "completes twice"),
        (Flaw::NeverCompletes, "waits for nothing"),
        (Flaw::CopiesOneByteLess, "byte"),
        (Flaw::ShortWriteNotResumed, "is lost"),
        (Flaw::ShortReadNotResumed, "byte"),
        (Flaw::ResumesMisaligned, "misaligned"),
        (Flaw::ScratchLeaked, "not given back"),
        (Flaw::ScratchGivenTooEarly, "not taken"),
        (Flaw::NoDepthLimit, "at the storage"),
        (Flaw::ReadsWait, "waits for nothing|overtakes|with 16 out of nothing"),
        (Flaw::LastBlockIsDirect, "passes the end"),
        (Flaw::IgnoredWriteError, "succeeds though|after an error"),
        (Flaw::FailedFlushForgotten, "after a flush has failed"),
        (Flaw::InterruptedFlushIsDone, "without having flushed"),
        (Flaw::FuaForgotten, "FUA"),
        (Flaw::PluggedStartsAtOnce, "held back|plugged|overtakes"),
        (
            Flaw::PluggedEntersInReverse,
            "is of request|waits for nothing|overtakes|does not wait|more than its|out of nothing",
        ),
        (Flaw::NowOvertakesPlugged, "waits for nothing|overtakes|does not wait|more than its|slot"),
        (Flaw::PlugDoesNotNest, "nothing was submitted"),
        (Flaw::UnplugForgetsTheLast, "waits for nothing|slot|overtakes"),
        (Flaw::PlugHoldsOthersBack, "held back|plugged|waits for nothing"),
        (Flaw::UnplugSubmitsOthers, "held back|plugged|not in flight|nothing was submitted"),
        (Flaw::EdgesBeforeTheMiddle, "before the middle"),
        (Flaw::DiscardRoundedOutwards, "nobody's|beyond|passes the end"),
        (Flaw::RefusedZeroesAreDone, "is lost|before the middle"),
        (Flaw::RefusedZeroesAskedAgain, "asks again"),
        (Flaw::ZeroesNotExclusive, "does not wait"),
        (Flaw::ZeroesRoundedOutwards, "nobody's|beyond"),
        (Flaw::ZeroesWithoutFallback, "not to write zeros"),
        (Flaw::RefusedDiscardIsAFailure, "out of nothing"),
        (Flaw::SerialisingIgnored, "does not wait|NO_WAIT request"),
        (Flaw::SerialisingExcludesWritesOnly, "does not wait|NO_WAIT request"),
        (Flaw::GuestBlocksIgnored, "does not wait|NO_WAIT request"),
        (Flaw::NoWaitWaits, "waits"),
        (Flaw::NoWaitIsBusyForNothing, "with 16 out of nothing"),
        (Flaw::NoWaitLeavesATrace, "waits for nothing"),
        (Flaw::CancelsAtTheStorage, "not Err(16)"),
        (Flaw::CancelForgetsTheCallback, "does not complete"),
        (Flaw::CancelledStillExcludes, "waits for nothing"),
        (Flaw::CancelLetsOthersPass, "does not wait"),
        (Flaw::CancelIsBusyWhileWaiting, "is Err(16)"),
        (Flaw::CancelsForOtherQueues, "not Err(2)"),
        (Flaw::CancelAllForgetsThePlugged, "are cancelled instead of"),
        (Flaw::HeldIsPlugged, "nothing was submitted|held back|waits for nothing"),
        (
            Flaw::LetsGoInReverse,
            "is of request|waits for nothing|overtakes|does not wait|more than its|out of nothing",
        ),
        (Flaw::LetsGoOneTooFew, "waits for nothing|overtakes|slot|wait for ever"),
        (Flaw::LetsGoOfAll, "held back|not in flight"),
        (Flaw::LetGoPassesThePlug, "nothing was submitted|held back|not in flight|overtakes"),
    ];
    for (flaw, words) in flaws {
        let found = complaint(flaw, 5000);
        let right = |found: &String| words.split('|').any(|words| found.contains(words));
        let right = found.as_ref().is_some_and(right);
        assert!(right, "{flaw:?} should be found because of '{words}': {found:?}");
    }
}
