//! The bytes of a fuzzer, taken one by one. At their end there are only zeros.

pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Input<'a> {
        Input { rest: data }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn long(&mut self) -> u64 {
        (0..8).fold(0, |value, shift| value | u64::from(self.byte()) << (8 * shift))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let number: usize = if bound <= 256 { self.byte().into() } else { self.word().into() };
        number % bound.max(1)
    }

    /// True for one byte in `n`, and not at the end.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Of up to `bound`, often near the edge of a block.
    pub fn length(&mut self, bound: u64) -> u64 {
        let unit = self.pick(&[1, 512, 4096, 16]);
        let count = u64::from(self.byte());
        let beside = self.pick(&[0i64, 0, 0, 1, -1, 7, 511]);
        (unit * count).saturating_add_signed(beside) % (bound + 1)
    }
}
