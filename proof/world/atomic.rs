//! Atomics that ask the scheduler before each access, and of which a load may read an older value
//! where its order allows that: see `memory.rs`.

use super::memory::History;
use super::scheduler::point;
pub use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// The newest value, and those before.
        #[derive(Debug, Default)]
        pub struct $name(std::sync::atomic::$name, History<$value>);

        #[allow(dead_code)]
        impl $name {
            pub const fn new(value: $value) -> Self {
                $name(std::sync::atomic::$name::new(value), History::new())
            }

            fn newest(&self) -> $value {
                self.0.load(Ordering::SeqCst)
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                point();
                self.load_here(order)
            }

            /// As `load`; no other thread runs before.
            #[track_caller]
            pub fn load_here(&self, order: Ordering) -> $value {
                self.1.load(self.newest(), order)
            }

            /// As `load`, of a thread that sees the newest value whatever the order.
            pub fn load_newest(&self, order: Ordering) -> $value {
                self.1.load_newest(self.newest(), order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                point();
                self.store_here(value, order);
            }

            pub fn store_here(&self, value: $value, order: Ordering) {
                let before = self.0.swap(value, Ordering::SeqCst);
                self.1.store(before, value, order);
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                let before = self.0.swap(value, Ordering::SeqCst);
                self.1.update(before, value, order);
                before
            }

            pub fn get_mut(&mut self) -> &mut $value {
                self.1.forget();
                self.0.get_mut()
            }
        }
    };
}

macro_rules! counter {
    ($name:ident, $value:ty) => {
        #[allow(dead_code)]
        impl $name {
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                point();
                self.fetch_add_here(value, order)
            }

            pub fn fetch_add_here(&self, value: $value, order: Ordering) -> $value {
                let before = self.0.fetch_add(value, Ordering::SeqCst);
                self.1.update(before, before.wrapping_add(value), order);
                before
            }

            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                point();
                let before = self.0.fetch_max(value, Ordering::SeqCst);
                self.1.update(before, before.max(value), order);
                before
            }

            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                point();
                let before = self.0.fetch_sub(value, Ordering::SeqCst);
                self.1.update(before, before.wrapping_sub(value), order);
                before
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicI32, i32);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
atomic!(AtomicUsize, usize);
counter!(AtomicU32, u32);
counter!(AtomicU64, u64);
counter!(AtomicUsize, usize);
