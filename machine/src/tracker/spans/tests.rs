use std::collections::BTreeMap;

use super::*;

/// Few in a chunk, so that there are many chunks.
const FEW: usize = 4;
type Spans = super::Spans<FEW>;

/// (start, end, last ones, last exclusive one) of all.
type Contents = Vec<(u64, u64, Vec<u32>, Option<u32>)>;

fn contents(spans: &mut Spans) -> Contents {
    let mut all = Contents::new();
    spans.visit(0, u64::MAX, |at, span, crowds| {
        let last_ones = span.last_ones(crowds).iter().map(|slot| slot.0).collect();
        all.push((at, span.end, last_ones, span.last_exclusive(crowds).map(|slot| slot.0)));
    });
    all
}

fn check_form(spans: &Spans) {
    assert_eq!(spans.borders.len() + 1, spans.chunks.len());
    assert!(spans.borders.is_sorted());
    for (at, chunk) in spans.chunks.iter().enumerate() {
        assert_eq!(chunk.starts.len(), chunk.spans.len());
        assert!(chunk.starts.len() <= FEW);
        assert!(!chunk.starts.is_empty() || spans.chunks.len() == 1);
        let first = at.checked_sub(1).map_or(0, |at| spans.borders[at]);
        let next = spans.borders.get(at).copied().unwrap_or(u64::MAX);
        assert!(chunk.starts.iter().all(|start| (first..next).contains(start)));
    }
}

#[test]
fn agrees_with_an_ordered_map() {
    let mut seed = 7u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    for _ in 0..200 {
        let mut spans = Spans::default();
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..400u32 {
            let start = random(120);
            let end = start + 1 + random(6);
            match random(8) {
                0 => {
                    spans.clear(start, end);
                    model.retain(|&at, _| at < start || at >= end);
                }
                1 => {
                    spans.split_at(start);
                    let before = model.range(..start).next_back().map(|(&at, &end)| (at, end));
                    if let Some((at, end)) = before.filter(|&(_, end)| end > start) {
                        model.insert(at, start);
                        model.insert(start, end);
                    }
                }
                _ => {
                    let meets = model.range(..end).next_back().is_some_and(|(_, &e)| e > start);
                    let span = Span::exclusive(end, Slot(step));
                    assert_eq!(spans.insert_if_free(start, span).is_err(), meets);
                    if !meets {
                        model.insert(start, end);
                    }
                }
            }
            check_form(&spans);
            let all = contents(&mut spans).into_iter().map(|(at, end, ..)| (at, end));
            assert!(all.eq(model.clone()));
        }
        spans.clear(0, u64::MAX);
        assert!(contents(&mut spans).is_empty());
        check_form(&spans);
    }
}

#[test]
fn a_span_knows_whom_it_names_and_goes_when_nobody_is_left() {
    let mut spans = Spans::default();
    spans.insert(0, Span::exclusive(8, Slot(1)));
    spans.insert(8, Span::shared(16, Slot(2)));
    spans.visit(0, 16, |_, span, crowds| span.share(Slot(3), crowds));
    spans.visit(0, 8, |_, span, crowds| span.share(Slot(4), crowds));
    let expected = vec![(0, 8, vec![3, 4], Some(1)), (8, 16, vec![2, 3], None)];
    assert_eq!(contents(&mut spans), expected);
    spans.forget(Slot(3), 0, 16);
    spans.forget(Slot(4), 0, 8);
    assert_eq!(contents(&mut spans), [(0, 8, vec![1], Some(1)), (8, 16, vec![2], None)]);
    spans.forget(Slot(1), 0, 8);
    spans.forget(Slot(9), 0, 16);
    assert_eq!(contents(&mut spans), [(8, 16, vec![2], None)]);
    spans.forget(Slot(2), 8, 16);
    assert!(contents(&mut spans).is_empty());
}

#[test]
fn a_span_is_small_and_what_several_requests_cost_besides_is_used_again() {
    assert_eq!(size_of::<Span>(), 16);
    let mut spans = Spans::default();
    for round in 0..10 {
        spans.insert(0, Span::exclusive(16, Slot(1)));
        spans.visit(0, 16, |_, span, crowds| span.share(Slot(2), crowds));
        spans.split_at(8);
        spans.forget(Slot(1), 0, 16);
        assert_eq!(contents(&mut spans), [(0, 8, vec![2], None), (8, 16, vec![2], None)]);
        match round % 3 {
            0 => spans.forget(Slot(2), 0, 16),
            1 => spans.clear(0, 16),
            _ => [0, 8].into_iter().for_each(|at| {
                assert!(spans.replace(at, Span::shared(at + 8, Slot(3)), |_, _| {}));
                spans.forget(Slot(3), at, at + 8);
            }),
        }
        assert!(contents(&mut spans).is_empty());
        assert_eq!((spans.crowds.all.len(), spans.crowds.free.len()), (2, 2));
    }
}

#[test]
fn only_a_span_of_the_same_range_is_replaced() {
    let mut spans = Spans::default();
    spans.insert(8, Span::shared(16, Slot(1)));
    spans.visit(8, 16, |_, span, crowds| span.share(Slot(2), crowds));
    for (start, end) in [(0, 8), (0, 16), (8, 12), (8, 24), (12, 16), (16, 24)] {
        assert!(!spans.replace(start, Span::exclusive(end, Slot(9)), |_, _| unreachable!()));
    }
    let mut before = Vec::new();
    let note = |span: &Span, crowds: &Crowds| before.extend_from_slice(span.last_ones(crowds));
    assert!(spans.replace(8, Span::exclusive(16, Slot(9)), note));
    assert_eq!(before, [Slot(1), Slot(2)]);
    assert_eq!(contents(&mut spans), [(8, 16, vec![9], Some(9))]);
}
