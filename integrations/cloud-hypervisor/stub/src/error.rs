//! What a disk fails with.

use std::error::Error;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockErrorKind {
    Io,
}

#[derive(Debug)]
pub struct BlockError {
    kind: BlockErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

pub type BlockResult<T> = Result<T, BlockError>;

impl BlockError {
    pub fn new(kind: BlockErrorKind, source: impl Error + Send + Sync + 'static) -> BlockError {
        BlockError { kind, source: Box::new(source) }
    }

    pub fn kind(&self) -> BlockErrorKind {
        self.kind
    }
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for BlockError {}
