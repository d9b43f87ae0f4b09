//! Weighs claims, overrides and trials: PURE, knows no descriptor.
//!
//! An override is obeyed unseen. A claim is believed unless a trial read is refused, and then the
//! next larger size that works counts. Where nobody claims anything, the smallest size that works
//! counts. A trial teaches something only where the storage checks at all: a hole, or a file
//! system that takes any size, accepts 1 byte, and then "it works" means "unknown".

use super::claims::{Claim, Claims, ALIGNMENT_MAX};
use super::{Limits, Source};

/// Alignments that the caller of open insists on; 0 = probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    pub request_alignment: u32,
    pub mem_alignment: u32,
    pub segment_alignment: u32,
}

/// What a trial reads, and into what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Length; the offset is a multiple of it, an odd one where possible.
    pub bytes: u32,
    /// Addresses are odd multiples of it.
    pub mem: u32,
    /// Length of the first and the last element; `bytes` or more: one element only.
    pub segment: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Works,
    /// EINVAL, or EIO (dm-crypt): says something only if a larger size works.
    Refused,
    /// No allocated data to read there, or an answer that has nothing to do with alignment.
    Unknown,
}

pub trait Trial {
    fn read(&mut self, shape: Shape) -> Outcome;
}

/// The largest size that is tried: block devices stop at 64 KiB.
pub const TRIAL_MAX: u32 = 1 << 16;
/// The smallest size that is tried without a claim: below it no disk has sectors.
const SECTOR: u32 = 512;
/// What is assumed where nothing is known.
const DEFAULT: u32 = 4096;

/// Buffered I/O takes anything; overrides make it behave like a disk of larger blocks.
pub fn buffered(overrides: &Overrides, limits: &mut Limits) {
    let anything = || Claim { bytes: 1, source: Source::Default };
    set_request(limits, insisted(overrides.request_alignment).unwrap_or_else(anything));
    set_mem(limits, insisted(overrides.mem_alignment).unwrap_or_else(anything));
    set_segment(limits, insisted(overrides.segment_alignment).unwrap_or_else(anything));
    make_consistent(limits);
}

/// In this order: each answer depends on the ones before it.
pub fn direct(claims: &Claims, overrides: &Overrides, trial: &mut dyn Trial, limits: &mut Limits) {
    let checks = refused(trial, Shape { bytes: 1, mem: DEFAULT, segment: 1 });
    let overridden = insisted(overrides.request_alignment);
    set_request(limits, overridden.unwrap_or_else(|| request(claims.request, checks, trial)));
    let overridden = insisted(overrides.mem_alignment);
    let bytes = limits.request_alignment;
    set_mem(limits, overridden.unwrap_or_else(|| mem(claims.mem, bytes, trial)));
    let overridden = insisted(overrides.segment_alignment);
    set_segment(limits, overridden.unwrap_or_else(|| segment(limits, checks, trial)));
    make_consistent(limits);
}

/// What the caller of open insists on.
fn insisted(bytes: u32) -> Option<Claim> {
    let obeyed = bytes.is_power_of_two() && bytes <= ALIGNMENT_MAX;
    obeyed.then_some(Claim { bytes, source: Source::Override })
}

/// Elements of `segment_alignment` must be able to make up a request. Only an override can ask
/// for more than the request alignment, so it is the override that raises it.
fn make_consistent(limits: &mut Limits) {
    if limits.request_alignment < limits.segment_alignment {
        limits.request_alignment = limits.segment_alignment;
        limits.request_alignment_source = limits.segment_alignment_source;
    }
}

/// Whether the storage refuses this. Then it checks what it is given.
fn refused(trial: &mut dyn Trial, shape: Shape) -> bool {
    trial.read(shape) == Outcome::Refused
}

/// The smallest of `from`, 2 `from`, 4 `from` ... up to `to` that works. None: none of them, or a
/// trial that taught nothing came first.
fn smallest_working(
    from: u32,
    to: u32,
    trial: &mut dyn Trial,
    shape: impl Fn(u32) -> Shape,
) -> Option<u32> {
    let mut bytes = from;
    while bytes <= to {
        match trial.read(shape(bytes)) {
            Outcome::Works => return Some(bytes),
            Outcome::Refused => bytes *= 2,
            Outcome::Unknown => return None,
        }
    }
    None
}

fn request(claim: Option<Claim>, checks: bool, trial: &mut dyn Trial) -> Claim {
    let unverified = claim.unwrap_or(Claim { bytes: DEFAULT, source: Source::Default });
    if !checks {
        return unverified;
    }
    // Nothing below a claim is tried: writes may need more than the reads that are tried here.
    let from = claim.map_or(SECTOR, |claim| claim.bytes);
    let shape = |bytes| Shape { bytes, mem: bytes.max(DEFAULT), segment: bytes };
    let working = smallest_working(from, TRIAL_MAX, trial, shape);
    verdict(claim, working, unverified)
}

fn mem(claim: Option<Claim>, request: u32, trial: &mut dyn Trial) -> Claim {
    let page_or_more = request.max(DEFAULT);
    let unverified = claim.unwrap_or(Claim { bytes: page_or_more, source: Source::Default });
    let shape = |mem| Shape { bytes: request, mem, segment: request };
    if !refused(trial, shape(1)) {
        return unverified;
    }
    let from = match claim {
        // The kernel computed it for this very file. The others repeat a block size, or a page,
        // where much less is needed: they are checked downwards too.
        Some(Claim { bytes, source: Source::Statx }) => bytes,
        Some(Claim { bytes, .. }) => bytes.min(SECTOR),
        None => SECTOR,
    };
    let to = page_or_more.max(from).min(TRIAL_MAX);
    let working = smallest_working(from, to, trial, shape);
    verdict(claim, working, unverified)
}

/// `checks`: single bytes are refused, so that an element length which works means something.
fn segment(limits: &Limits, checks: bool, trial: &mut dyn Trial) -> Claim {
    let (request, mem) = (limits.request_alignment, limits.mem_alignment);
    let unknown = Claim { bytes: request, source: Source::Default };
    if !checks || mem >= request || request > TRIAL_MAX {
        return unknown;
    }
    let shape = |segment| Shape { bytes: request, mem, segment };
    match smallest_working(mem, request, trial, shape) {
        Some(bytes) => Claim { bytes, source: Source::Trial },
        None => unknown,
    }
}

/// A claim that works as claimed keeps its source.
fn verdict(claim: Option<Claim>, working: Option<u32>, unverified: Claim) -> Claim {
    match working {
        Some(bytes) if claim.map(|claim| claim.bytes) != Some(bytes) => {
            Claim { bytes, source: Source::Trial }
        }
        _ => unverified,
    }
}

fn set_request(limits: &mut Limits, claim: Claim) {
    limits.request_alignment = claim.bytes;
    limits.request_alignment_source = claim.source;
}

fn set_mem(limits: &mut Limits, claim: Claim) {
    limits.mem_alignment = claim.bytes;
    limits.mem_alignment_source = claim.source;
}

fn set_segment(limits: &mut Limits, claim: Claim) {
    limits.segment_alignment = claim.bytes;
    limits.segment_alignment_source = claim.source;
}
