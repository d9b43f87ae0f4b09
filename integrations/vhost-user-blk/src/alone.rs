//! Whether a request that is alone in its queue is carried out by the queue's thread itself, which
//! waits for it then. Where the storage is quick that takes less time than to begin it, to sleep
//! and to be woken; and nobody minds, since there is nothing else to do. What comes meanwhile
//! waits as long as that takes: not long, or it is not done so again for a while.

use std::time::Duration;

/// One that takes longer is better begun and waited for along with others.
const TIME_MAX: Duration = Duration::from_micros(100);
/// Most bytes of one.
const BYTES_MAX: usize = 64 << 10;
/// After one that took long so many are begun as always; twice as many after the next, up to the
/// second figure, as long as no quick one comes between: a disk that turns is hardly ever asked.
const SKIP: (u32, u32) = (16, 1 << 16);

pub struct Alone {
    skip: u32,
    next_skip: u32,
}

impl Alone {
    pub fn new() -> Alone {
        Alone { skip: 0, next_skip: SKIP.0 }
    }

    /// Whether to carry out a request of so many bytes at once.
    pub fn suits(&mut self, bytes: usize) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        bytes <= BYTES_MAX
    }

    /// One was carried out, in that time.
    pub fn took(&mut self, time: Duration) {
        if time > TIME_MAX {
            self.skip = self.next_skip;
            self.next_skip = (2 * self.next_skip).min(SKIP.1);
        } else {
            self.next_skip = SKIP.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many requests, each of which would take `time`, are carried out at once.
    fn at_once(alone: &mut Alone, requests: u32, time: Duration) -> u32 {
        (0..requests)
            .filter(|_| {
                let suits = alone.suits(512);
                if suits {
                    alone.took(time);
                }
                suits
            })
            .count() as u32
    }

    #[test]
    fn slow_storage_is_hardly_ever_waited_for() {
        let mut alone = Alone::new();
        assert_eq!(at_once(&mut alone, 1000, Duration::from_micros(10)), 1000);
        assert!(at_once(&mut alone, 1_000_000, Duration::from_millis(5)) < 30);
        assert!(alone.next_skip == SKIP.1 && alone.skip <= SKIP.1);
    }

    #[test]
    fn storage_that_is_slow_by_chance_is_waited_for_again() {
        let mut alone = Alone::new();
        for _ in 0..100 {
            at_once(&mut alone, 1, Duration::from_millis(1));
            assert_eq!(at_once(&mut alone, 1000, Duration::from_micros(10)), 1000 - SKIP.0);
        }
    }

    #[test]
    fn large_ones_are_begun_as_always() {
        assert!(Alone::new().suits(64 << 10));
        assert!(!Alone::new().suits((64 << 10) + 1));
    }
}
