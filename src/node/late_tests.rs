use super::*;

fn at(begin: Instant, millis: u64) -> Instant {
    begin + Duration::from_millis(millis)
}

/// Marks as looks every 2.5 s leave them, of the youngest requests then.
fn marks(begin: Instant, youngest: &[RequestId]) -> Marks {
    let mut marks = Marks::default();
    for (number, &youngest) in (0..).zip(youngest) {
        marks.add(Mark { when: at(begin, 2500 * number), youngest });
    }
    marks
}

#[test]
fn a_request_is_late_by_the_newest_mark_that_is_old_enough() {
    let begin = Instant::now();
    let marks = marks(begin, &[7, 9, 12]);
    assert_eq!(marks.late_at(at(begin, 4999)), None);
    assert_eq!(marks.late_at(at(begin, 5000)).unwrap().youngest, 7);
    assert_eq!(marks.late_at(at(begin, 9000)).unwrap().youngest, 9);
    let waited = |id| marks.waited(id, at(begin, 9000)).as_millis();
    assert_eq!([3, 7, 8, 12, 13].map(waited), [9000, 9000, 6500, 4000, 0]);
}

#[test]
fn marks_go_with_the_requests_that_they_are_about() {
    let begin = Instant::now();
    let mut some = marks(begin, &[7, 9, 12, 15]);
    some.forget(Some(8), at(begin, 7500));
    assert_eq!(some.0.iter().map(|mark| mark.youngest).collect::<Vec<_>>(), [9, 12, 15]);
    some.forget(None, at(begin, 7500));
    assert_eq!(some.0.iter().map(|mark| mark.youngest).collect::<Vec<_>>(), [12, 15]);
    let mut many = Marks::default();
    for number in 0..2 * MARKS_MAX as u64 {
        many.add(Mark { when: at(begin, number), youngest: number });
        many.forget(Some(0), at(begin, number));
    }
    assert_eq!((many.0.len(), many.0[0].youngest), (MARKS_MAX, 0));
}

#[test]
fn a_request_is_told_of_at_five_seconds_and_at_each_doubling() {
    let told = (1..=40).filter(|number| {
        let waited = Duration::from_millis(2500 * number);
        is_to_be_told(waited, Duration::from_millis(2500))
    });
    assert_eq!(told.collect::<Vec<_>>(), [2, 4, 8, 16, 32]);
}
