//! A set of small numbers, one bit each: looked through a word at a time.

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Bit i of word i / 64 says whether i is in the set. Numbers from `count` on never are.
    pub fn new(mut words: Vec<u64>, count: u64) -> Bits {
        words.resize(count.div_ceil(64) as usize, 0);
        let last = count % 64;
        if let (Some(word), true) = (words.last_mut(), last > 0) {
            *word &= (1 << last) - 1;
        }
        Bits(words)
    }

    pub fn contains(&self, number: u64) -> bool {
        self.0[(number / 64) as usize] & 1 << (number % 64) != 0
    }

    pub fn insert(&mut self, number: u64) {
        self.0[(number / 64) as usize] |= 1 << (number % 64);
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The first number in [from, end) that is in the set (`wanted`), or is not. `end`: none is.
    pub fn first(&self, wanted: bool, from: u64, end: u64) -> u64 {
        let mut at = from;
        while at < end {
            let word = self.0[(at / 64) as usize];
            let candidates = if wanted { word } else { !word };
            let rest = candidates >> (at % 64);
            if rest != 0 {
                return (at + u64::from(rest.trailing_zeros())).min(end);
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    /// The words of `count` numbers from `from` on, both multiples of 64; zeros beyond the end.
    pub fn words(&self, from: u64, count: u64) -> Vec<u64> {
        let first = (from / 64) as usize;
        let words = first..first + (count / 64) as usize;
        words.map(|word| self.0.get(word).copied().unwrap_or(0)).collect()
    }
}
