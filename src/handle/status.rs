//! What lies in a range of the object, as the driver says. One place: an overlay's driver answers
//! for its two layers as any other driver does.

use super::bounds::round_out;
use super::{Handle, Submission};
use crate::driver::{BlockStatus, Op, Segments};
use crate::sys::Error;
use blkalign_machine::RequestFlags;

impl Handle {
    /// What lies at `offset`, and for how many bytes, at most `bytes`, and at least 1 unless that
    /// is 0. Waits for no request: it is what the storage says at this moment. EIO: past the end
    /// without RESIZE, or an answer of the driver that is none.
    pub fn block_status(&self, offset: u64, bytes: u64) -> Result<(BlockStatus, u64), Error> {
        let (op, flags) = (Op::Read, RequestFlags::default());
        let segments = Segments::new();
        self.check(&Submission { op, flags, guest_block: 0, offset, bytes, segments })?;
        if bytes == 0 {
            return Ok((BlockStatus::Data, 0));
        }
        let end = self.length();
        // Where RESIZE lets reads pass the end they bring zeros.
        if offset >= end {
            return Ok((BlockStatus::Hole, bytes));
        }
        let bytes = bytes.min(end - offset);
        let offset = offset + self.endpoint.window_offset;
        let block = self.limits().alignments.request;
        let (start, asked) = round_out(offset, bytes, block);
        let answer = self.endpoint.driver.block_status(start, asked);
        let failed = |errno| {
            let words = format!("{}: block status at offset {offset}", self.endpoint.name);
            Error::new(errno, words)
        };
        let (status, run) = answer.map_err(failed)?;
        let run = run.saturating_sub(offset - start).min(bytes);
        match run {
            0 => Err(failed(libc::EIO)),
            run => Ok((status, run)),
        }
    }
}
