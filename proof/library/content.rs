//! What requests write: every write has a tag, and its bytes follow from tag and place. So a byte
//! says whose it is.

pub type Tag = u16;

/// The bytes that a write with that tag puts there. Tag 0 is what the object holds at first.
pub fn bytes(tag: Tag, from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|place| (u64::from(tag) * 37 + place % 251) as u8).collect()
}
