//! The numbers of kinds of requests and I/Os: those of `<blkalign.h>`.

use super::Op;
use crate::header::{BLKALIGN_OP_DISCARD, BLKALIGN_OP_FLUSH, BLKALIGN_OP_READ};
use crate::header::{BLKALIGN_OP_TRUNCATE, BLKALIGN_OP_WRITE, BLKALIGN_OP_WRITE_ZEROES};

pub fn kind_number(op: Op) -> u32 {
    match op {
        Op::Read | Op::Fill => BLKALIGN_OP_READ,
        Op::Write | Op::Populate | Op::SaveMap => BLKALIGN_OP_WRITE,
        Op::WriteZeroes => BLKALIGN_OP_WRITE_ZEROES,
        Op::Discard => BLKALIGN_OP_DISCARD,
        Op::Flush => BLKALIGN_OP_FLUSH,
        Op::Truncate | Op::Length => BLKALIGN_OP_TRUNCATE,
    }
}
