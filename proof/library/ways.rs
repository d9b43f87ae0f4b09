//! Opens and closes that race for the way of one object.

use std::sync::Arc;

use parking_lot::Mutex;

use super::small::{explore, join};
use crate::driver::way::{Traveller, Wish};
use crate::driver::Identity;
use crate::proof::inside::open_ways;
use crate::proof::world::thread::spawn;
use crate::proof::world::{fail, point};

const OBJECT: Identity = Identity::File { dev: 77, ino: 4712 };

/// The ways of those that are open now.
type Open = Arc<Mutex<Vec<bool>>>;

/// Opens, uses and closes; whether it was let in.
fn come_and_go(open: &Open, wish: Wish) -> bool {
    let Some(traveller) = Traveller::enter(OBJECT, wish) else { return false };
    let direct = traveller.is_direct();
    if direct != wish.direct && !wish.either {
        fail("sent another way than it can go");
    }
    let mut all = open.lock();
    all.push(direct);
    if all.iter().any(|&other| other != direct) {
        fail("two handles go different ways");
    }
    drop(all);
    point();
    let mut all = open.lock();
    let its = all.iter().position(|&other| other == direct);
    all.swap_remove(its.unwrap_or_else(|| fail("not there")));
    drop(all);
    drop(traveller);
    true
}

/// One that goes either way, one for O_DIRECT alone, and one for the page cache, which comes twice.
pub fn handles_that_come_and_go_at_once_go_one_way() -> (usize, bool) {
    explore("ways", 2, 3000, 2000, || {
        let open = Open::default();
        let wishes = [(true, true), (true, false), (false, true)];
        let threads: Vec<_> = wishes
            .map(|(direct, either)| {
                let (its, wish) = (open.clone(), Wish { direct, either });
                spawn("opener", move || {
                    let came = come_and_go(&its, wish);
                    let again = wish.direct || come_and_go(&its, wish);
                    if wish.either && !(came && again) {
                        fail("refused, though it can go either way");
                    }
                })
            })
            .into_iter()
            .collect();
        threads.into_iter().for_each(join);
        if open_ways() > 0 {
            fail("a way without anybody on it");
        }
    })
}
