//! Weighs claims, overrides and trials: PURE, knows no descriptor.
//!
//! An override is obeyed unseen. A claim is believed unless a trial read is refused, and then the
//! next larger size that works counts. Where there is no claim, the smallest size that works
//! counts. A trial teaches something only where the storage checks at all: a hole, or a file
//! system that takes any size, accepts 1 byte, and then "it works" means "unknown". A read that
//! succeeds and puts wrong bytes somewhere counts as refused. Where another program writes there
//! meanwhile this cannot be told: then addresses and elements are whole pages and blocks. So they
//! are where a driver that is not to be believed about memory (`trust`) has only data to show that
//! would look the same in a wrong place.

use super::claims::{Claim, Claims, ALIGNMENT_MAX};
use blkalign_machine::Alignments;

use super::limits::{Limits, Source};
use super::trust::MemoryTrust;

/// What a trial reads, and into what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Length; the offset is a multiple of it, an odd one where possible.
    pub bytes: u32,
    /// Addresses are odd multiples of it.
    pub mem: u32,
    /// Length of the first and the last element; `bytes` or more: whole blocks.
    pub segment: u32,
    /// Many blocks, where there is room: there are drivers that move one block right, and eight
    /// wrong.
    pub long: bool,
    /// "Works" is to mean that a byte in a wrong place would have been seen.
    pub telling: bool,
}

impl Shape {
    pub fn short(bytes: u32, mem: u32, segment: u32) -> Shape {
        Shape { bytes, mem, segment, long: false, telling: false }
    }

    pub fn long(bytes: u32, mem: u32, segment: u32, telling: bool) -> Shape {
        Shape { bytes, mem, segment, long: true, telling }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Works,
    /// EINVAL, or EIO (dm-crypt): says something only if a larger size works.
    Refused,
    /// The read succeeds, and the bytes in or around the elements are not what they should be.
    Wrong,
    /// The read succeeds, and what it has read keeps changing.
    Unsteady,
    /// The data are alike all over: in wrong places they would look the same. Only where the shape
    /// asks for data that can tell.
    Alike,
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
pub fn buffered(overrides: Alignments, limits: &mut Limits) {
    let anything = || Claim { bytes: 1, source: Source::Default };
    set_request(limits, insisted(overrides.request).unwrap_or_else(anything));
    set_mem(limits, insisted(overrides.memory as u64).unwrap_or_else(anything));
    set_segment(limits, insisted(overrides.segment as u64).unwrap_or_else(anything));
    make_consistent(limits);
}

/// Direct I/O. The alignments are found in this order, for each depends on those before it.
/// `page`: the kernel's.
pub fn direct(
    claims: &Claims,
    overrides: Alignments,
    page: u32,
    trial: &mut dyn Trial,
    limits: &mut Limits,
) {
    let checks = refused(trial, Shape::short(1, page, 1));
    let overridden = insisted(overrides.request);
    set_request(limits, overridden.unwrap_or_else(|| request(claims, checks, page, trial)));
    let overridden = insisted(overrides.memory as u64);
    let block = request_alignment(limits).min(TRIAL_MAX);
    set_mem(limits, overridden.unwrap_or_else(|| mem(claims, block, page, trial)));
    let overridden = insisted(overrides.segment as u64);
    set_segment(limits, overridden.unwrap_or_else(|| segment(claims, limits, checks, trial)));
    make_consistent(limits);
}

/// What the caller of open insists on.
fn insisted(bytes: u64) -> Option<Claim> {
    let bytes = u32::try_from(bytes).ok()?;
    let obeyed = bytes.is_power_of_two() && bytes <= ALIGNMENT_MAX;
    obeyed.then_some(Claim { bytes, source: Source::Override })
}

/// Elements of `segment_alignment` must be able to make up a request. Only an override can ask
/// for more than the request alignment, so it is the override that raises it.
fn make_consistent(limits: &mut Limits) {
    let segment = limits.alignments.segment as u64;
    if limits.alignments.request < segment {
        limits.alignments.request = segment;
        limits.sources.request = limits.sources.segment;
    }
}

/// The request alignment in the type that claims have, which is large enough: at most
/// ALIGNMENT_MAX.
fn request_alignment(limits: &Limits) -> u32 {
    limits.alignments.request as u32
}

/// Whether the storage refuses a read of this shape. If so, it checks what it is given.
fn refused(trial: &mut dyn Trial, shape: Shape) -> bool {
    matches!(trial.read(shape), Outcome::Refused | Outcome::Wrong)
}

/// The smallest of `from`, 2 `from`, 4 `from` ... up to `to` that works. Else why there is none:
/// `Wrong` if that came up at all, `Refused`, or what else came first and ended the search.
fn smallest_working(
    from: u32,
    to: u32,
    trial: &mut dyn Trial,
    shape: impl Fn(u32) -> Shape,
) -> Result<u32, Outcome> {
    let mut worst = Outcome::Refused;
    let mut bytes = from;
    while bytes <= to {
        match trial.read(shape(bytes)) {
            Outcome::Works => return Ok(bytes),
            Outcome::Refused | Outcome::Alike => {}
            Outcome::Wrong => worst = Outcome::Wrong,
            outcome => return Err(outcome),
        }
        bytes *= 2;
    }
    Err(worst)
}

fn request(claims: &Claims, checks: bool, page: u32, trial: &mut dyn Trial) -> Claim {
    let mut claim = claims.request;
    if let (Some(small), Some(behind)) = (claim, claims.behind_loop) {
        let shape = Shape::short(small.bytes, small.bytes.max(page), small.bytes);
        if trial.read(Shape { telling: true, ..shape }) != Outcome::Works {
            claim = Some(behind);
        }
    }
    let unverified = claim.unwrap_or(Claim { bytes: DEFAULT, source: Source::Default });
    if !checks {
        return unverified;
    }
    // Nothing below a claim is tried: writes may need more than the reads that are tried here.
    let from = claim.map_or(SECTOR, |claim| claim.bytes);
    let shape = |bytes| Shape::short(bytes, bytes.max(page), bytes);
    let working = smallest_working(from, TRIAL_MAX, trial, shape);
    working.map_or(unverified, |bytes| verdict(claim, bytes))
}

fn mem(claims: &Claims, block: u32, page: u32, trial: &mut dyn Trial) -> Claim {
    let claim = claims.mem;
    let page_or_more = block.max(page);
    let safe = Claim { bytes: page_or_more, source: Source::Default };
    let believed = claims.trust == MemoryTrust::Believed;
    let unverified = claim.filter(|claim| believed || claim.bytes >= page_or_more).unwrap_or(safe);
    if claims.trust == MemoryTrust::Never {
        return unverified;
    }
    let shape = |mem| Shape::long(block, mem, block, !believed && mem < page_or_more);
    match trial.read(shape(1)) {
        Outcome::Refused | Outcome::Wrong => {}
        Outcome::Works | Outcome::Alike | Outcome::Unknown => return unverified,
        Outcome::Unsteady => return safe,
    }
    let from = match claim {
        // The kernel computed it for this very file. The others repeat a block size, or a page,
        // where much less is needed: they are checked downwards too.
        Some(Claim { bytes, source: Source::Statx }) => bytes,
        Some(Claim { bytes, .. }) => bytes.min(SECTOR),
        None => SECTOR,
    };
    let from = from.max(claims.integrity.map_or(1, |claim| claim.bytes));
    let to = page_or_more.max(from).min(TRIAL_MAX);
    match smallest_working(from, to, trial, shape) {
        Ok(bytes) => verdict(claim, bytes),
        Err(Outcome::Wrong | Outcome::Unsteady) => safe,
        Err(_) => unverified,
    }
}

/// `checks`: single bytes are refused, so that an element length which works means something.
fn segment(claims: &Claims, limits: &Limits, checks: bool, trial: &mut dyn Trial) -> Claim {
    let request = request_alignment(limits);
    // Claims are at most ALIGNMENT_MAX.
    let mem = limits.alignments.memory as u32;
    let unknown = Claim { bytes: request, source: Source::Default };
    if !checks || request > TRIAL_MAX || claims.trust == MemoryTrust::Never {
        return unknown;
    }
    let telling = |segment| claims.trust != MemoryTrust::Believed && segment < request;
    let shape = |segment| Shape::long(request, mem, segment, telling(segment));
    let from = mem.max(claims.integrity.map_or(1, |claim| claim.bytes)).min(request);
    let working = smallest_working(from, request, trial, shape);
    working.map_or(unknown, |bytes| Claim { bytes, source: Source::Trial })
}

/// A claim that works as claimed keeps its source.
fn verdict(claim: Option<Claim>, working: u32) -> Claim {
    let tried = Claim { bytes: working, source: Source::Trial };
    claim.filter(|claim| claim.bytes == working).unwrap_or(tried)
}

fn set_request(limits: &mut Limits, claim: Claim) {
    limits.alignments.request = u64::from(claim.bytes);
    limits.sources.request = claim.source;
}

fn set_mem(limits: &mut Limits, claim: Claim) {
    limits.alignments.memory = claim.bytes as usize;
    limits.sources.memory = claim.source;
}

fn set_segment(limits: &mut Limits, claim: Claim) {
    limits.alignments.segment = claim.bytes as usize;
    limits.sources.segment = claim.source;
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
