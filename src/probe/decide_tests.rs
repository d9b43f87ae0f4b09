use super::*;

struct Answers<F>(F);

impl<F: Fn(Shape) -> Outcome> Trial for Answers<F> {
    fn read(&mut self, shape: Shape) -> Outcome {
        (self.0)(shape)
    }
}

/// Request, mem, segment, where statx says 4096 and 512.
fn decided(answer: impl Fn(Shape) -> Outcome) -> [(u64, Source); 3] {
    let claim = |bytes| Some(Claim { bytes, source: Source::Statx });
    let claims = Claims { request: claim(4096), mem: claim(512), ..Claims::default() };
    let mut limits = Limits::default();
    direct(&claims, Alignments::default(), 4096, &mut Answers(answer), &mut limits);
    [
        (limits.alignments.request, limits.sources.request),
        (limits.alignments.memory as u64, limits.sources.memory),
        (limits.alignments.segment as u64, limits.sources.segment),
    ]
}

fn checked(shape: Shape, otherwise: Outcome) -> Outcome {
    if shape.bytes == 1 {
        Outcome::Refused
    } else {
        otherwise
    }
}

const SAFE: [(u64, Source); 3] =
    [(4096, Source::Statx), (4096, Source::Default), (4096, Source::Default)];

#[test]
fn what_is_wrong_everywhere_gets_whole_pages_and_blocks() {
    assert_eq!(decided(|shape| checked(shape, Outcome::Wrong)), SAFE);
    // Whether or not larger ones are refused.
    let refused_or_wrong = |shape: Shape| match shape.mem {
        512 => Outcome::Wrong,
        _ => Outcome::Refused,
    };
    assert_eq!(decided(refused_or_wrong), SAFE);
}

#[test]
fn what_keeps_changing_gets_whole_pages_and_blocks() {
    assert_eq!(decided(|shape| checked(shape, Outcome::Unsteady)), SAFE);
}

#[test]
fn a_single_byte_that_goes_wrong_is_no_proof_that_anything_works() {
    let whole_pages = |shape: Shape| match shape {
        Shape { bytes: 1, .. } | Shape { mem: ..4096, .. } => Outcome::Wrong,
        _ => Outcome::Works,
    };
    let trial = Source::Trial;
    assert_eq!(decided(whole_pages), [(4096, Source::Statx), (4096, trial), (4096, trial)]);
}
