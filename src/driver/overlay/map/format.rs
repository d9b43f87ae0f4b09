//! The bytes of a map (docs/OVERLAY.md): from values to bytes and back, and nothing else. Takes
//! any bytes without a panic, and believes none that it has not checked. It imports nothing of the
//! library, so that the fuzzers can have this file by itself.
//!
//! A map is a header and pages. Each page has the bits of PAGE_CLUSTERS clusters, and two slots for
//! them. A slot is written as a whole, with a generation that no write of the page had before; odd
//! ones go to slot 1, even ones to slot 0. Each sector of a slot has a checksum of its own. So a
//! write that was torn (some sectors are of this write, some of an earlier one) is told from damage
//! (a sector that nobody wrote like this).

#[path = "checksum.rs"]
mod checksum;

pub use checksum::crc32c;

/// What storage writes whole or not at all.
pub const SECTOR: usize = 512;
/// The header's place, and a slot.
pub const SLOT: usize = 4096;
const SECTORS: usize = SLOT / SECTOR;
const WORDS_PER_SECTOR: usize = 61;
/// Words of 64 bits in a page.
pub const WORDS: usize = SECTORS * WORDS_PER_SECTOR;
/// Clusters of a page.
pub const PAGE_CLUSTERS: u64 = 64 * WORDS as u64;

pub const CLUSTER_MIN: u32 = 4096;
pub const CLUSTER_MAX: u32 = 2 << 20;
/// Of one map: their bits take 512 MiB.
pub const CLUSTERS_MAX: u64 = 1 << 32;

const MAGIC: [u8; 8] = *b"\x89BLKMAP\n";
const VERSION: u32 = 1;
/// Where a sector has its checksum, of all before.
const SUM: usize = SECTOR - 4;
/// Where a sector of a page has its bits.
const BITS: usize = 16;
const BITS_END: usize = BITS + 8 * WORDS_PER_SECTOR;
/// Beyond any number of writes.
const GENERATION_MAX: u64 = 1 << 62;

/// What is wrong, and where in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage(pub String);

fn damage<T>(words: impl Into<String>) -> Result<T, Damage> {
    Err(Damage(words.into()))
}

/// What a map is for; this fixes the size and the places of all in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Of the object, in bytes.
    pub length: u64,
    /// Bytes of a cluster: a power of two.
    pub cluster: u32,
}

impl Geometry {
    /// In words, why no map can be for this; None: one can.
    pub fn objection(self) -> Option<String> {
        let Geometry { length, cluster } = self;
        if !cluster.is_power_of_two() || !(CLUSTER_MIN..=CLUSTER_MAX).contains(&cluster) {
            return Some(format!(
                "clusters of {cluster} bytes, which must be a power of two from {CLUSTER_MIN} to \
                 {CLUSTER_MAX}"
            ));
        }
        if i64::try_from(length).is_err() || self.clusters() > CLUSTERS_MAX {
            return Some(format!(
                "{length} bytes are more than {CLUSTERS_MAX} clusters of {cluster}"
            ));
        }
        None
    }

    pub fn clusters(self) -> u64 {
        self.length.div_ceil(self.cluster.into())
    }

    pub fn pages(self) -> u64 {
        self.clusters().div_ceil(PAGE_CLUSTERS)
    }

    /// How many clusters have their bits in that page.
    pub fn clusters_of(self, page: u64) -> u64 {
        self.clusters().saturating_sub(page.saturating_mul(PAGE_CLUSTERS)).min(PAGE_CLUSTERS)
    }

    /// How long the map is.
    pub fn map_bytes(self) -> u64 {
        SLOT as u64 * (1 + 2 * self.pages())
    }
}

/// Where the two slots of a page begin.
pub fn page_offset(page: u64) -> u64 {
    SLOT as u64 * (1 + 2 * page)
}

/// Which slot of its page a generation has.
pub fn slot_of(generation: u64) -> usize {
    (generation % 2) as usize
}

/// Where the slot begins that a generation of a page has.
pub fn slot_offset(page: u64, generation: u64) -> u64 {
    page_offset(page) + (slot_of(generation) * SLOT) as u64
}

fn get<const BYTES: usize>(sector: &[u8], at: usize) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.copy_from_slice(&sector[at..at + BYTES]);
    bytes
}

fn put(sector: &mut [u8], at: usize, bytes: &[u8]) {
    sector[at..at + bytes.len()].copy_from_slice(bytes);
}

fn sum_up(sector: &mut [u8]) {
    let sum = crc32c(&sector[..SUM]);
    put(sector, SUM, &sum.to_le_bytes());
}

fn sum_fits(sector: &[u8]) -> bool {
    u32::from_le_bytes(get(sector, SUM)) == crc32c(&sector[..SUM])
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The first sector of the header. The rest of the header's place is zeros.
pub fn encode_header(geometry: Geometry) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    put(&mut sector, 0, &MAGIC);
    put(&mut sector, 8, &VERSION.to_le_bytes());
    put(&mut sector, 12, &geometry.cluster.to_le_bytes());
    put(&mut sector, 16, &geometry.length.to_le_bytes());
    sum_up(&mut sector);
    sector
}

/// From the header's whole place.
pub fn decode_header(bytes: &[u8; SLOT]) -> Result<Geometry, Damage> {
    if is_zero(bytes) {
        return damage("its header is empty: the map was not created to the end");
    }
    if bytes[..MAGIC.len()] != MAGIC {
        return damage("it does not begin as the map of an overlay does");
    }
    let version = u32::from_le_bytes(get(bytes, 8));
    if version != VERSION {
        return damage(format!(
            "its version is {version} (byte 8), and this library knows version {VERSION} only"
        ));
    }
    let (sector, rest) = bytes.split_at(SECTOR);
    if !sum_fits(sector) {
        return damage("the checksum of its header (byte 508) is wrong");
    }
    if !is_zero(&sector[24..SUM]) || !is_zero(rest) {
        return damage("there is something in its header where zeros belong (from byte 24 on)");
    }
    let geometry = Geometry {
        cluster: u32::from_le_bytes(get(sector, 12)),
        length: u64::from_le_bytes(get(sector, 16)),
    };
    geometry.objection().map_or(Ok(geometry), |why| damage(format!("its header says {why}")))
}

/// A slot with these bits, the first for the page's first cluster. Words that are not given are 0;
/// more than WORDS are none of this page's.
pub fn encode_slot(page: u64, generation: u64, bits: &[u64]) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let first = slot_offset(page, generation) / SECTOR as u64;
    let mut words = bits.iter();
    for (at, sector) in slot.chunks_exact_mut(SECTOR).enumerate() {
        put(sector, 0, &generation.to_le_bytes());
        put(sector, 8, &(first + at as u64).to_le_bytes());
        for (number, word) in words.by_ref().take(WORDS_PER_SECTOR).enumerate() {
            put(sector, BITS + 8 * number, &word.to_le_bytes());
        }
        sum_up(sector);
    }
    slot
}

/// A page as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Of the slot that counts; 0: no cluster of the page was ever there.
    pub generation: u64,
    /// The largest of any sector: no later write may have one that is not larger.
    pub used: u64,
    /// One for 64 clusters.
    pub bits: [u64; WORDS],
}

/// A sector of a slot; one that was never written is all zeros, and so is this.
#[derive(Clone, Copy)]
struct Sector {
    generation: u64,
    bits: [u64; WORDS_PER_SECTOR],
}

/// `place`: the sector's number in the map.
fn decode_sector(bytes: &[u8], place: u64, slot: usize) -> Result<Sector, &'static str> {
    if is_zero(bytes) {
        return Ok(Sector { generation: 0, bits: [0; WORDS_PER_SECTOR] });
    }
    if !sum_fits(bytes) {
        return Err("its checksum is wrong");
    }
    if u64::from_le_bytes(get(bytes, 8)) != place {
        return Err("it belongs to another place");
    }
    let generation = u64::from_le_bytes(get(bytes, 0));
    if generation == 0 || generation > GENERATION_MAX || slot_of(generation) != slot {
        return Err("its generation does not belong there");
    }
    if !is_zero(&bytes[BITS_END..SUM]) {
        return Err("there is something where zeros belong");
    }
    let mut bits = [0; WORDS_PER_SECTOR];
    for (number, word) in bits.iter_mut().enumerate() {
        *word = u64::from_le_bytes(get(bytes, BITS + 8 * number));
    }
    Ok(Sector { generation, bits })
}

type Slot = [Sector; SECTORS];

/// The generation of slot `number`, if all its sectors come from one write. Before the first write
/// it is slot 0 that counts: the first write goes to slot 1.
fn whole(slot: &Slot, number: usize) -> Option<u64> {
    let generation = slot[0].generation;
    let same = slot.iter().all(|sector| sector.generation == generation);
    (same && slot_of(generation) == number).then_some(generation)
}

/// From the two slots of a page. `clusters`: how many clusters the page has.
pub fn decode_page(page: u64, clusters: u64, bytes: &[u8; 2 * SLOT]) -> Result<Page, Damage> {
    let first = page_offset(page) / SECTOR as u64;
    let mut slots = [[Sector { generation: 0, bits: [0; WORDS_PER_SECTOR] }; SECTORS]; 2];
    for (at, sector) in bytes.chunks_exact(SECTOR).enumerate() {
        let (slot, place) = (at / SECTORS, first + at as u64);
        let decoded = decode_sector(sector, place, slot);
        slots[slot][at % SECTORS] = match decoded {
            Ok(sector) => sector,
            Err(why) => {
                return damage(format!(
                    "page {page}, the sector at byte {}: {why}",
                    place * SECTOR as u64
                ));
            }
        };
    }
    let Some((generation, counts)) =
        (0..2).filter_map(|slot| Some((whole(&slots[slot], slot)?, slot))).max()
    else {
        return damage(format!("page {page}: each of its slots was written only in part"));
    };
    let (newest, other) = (&slots[counts], &slots[1 - counts]);
    if !newest.iter().zip(other).all(|(one, other)| grew(one, other)) {
        return damage(format!("page {page}: clusters that were there are missing"));
    }
    let mut bits = [0; WORDS];
    for (at, sector) in newest.iter().enumerate() {
        bits[at * WORDS_PER_SECTOR..][..WORDS_PER_SECTOR].copy_from_slice(&sector.bits);
    }
    if !ends_with(&bits, clusters) {
        return damage(format!("page {page}: there are clusters behind the end of the object"));
    }
    let used = other.iter().map(|sector| sector.generation).max().unwrap_or(0).max(generation);
    Ok(Page { generation, used, bits })
}

/// Of two states of the same bits the later one has all that the earlier one has.
fn grew(one: &Sector, other: &Sector) -> bool {
    let (earlier, later) =
        if one.generation < other.generation { (one, other) } else { (other, one) };
    earlier.bits.iter().zip(&later.bits).all(|(earlier, later)| earlier & !later == 0)
}

/// Whether no bit is set behind the first `clusters`.
pub fn ends_with(bits: &[u64], clusters: u64) -> bool {
    let whole = (clusters / 64) as usize;
    let (Some(behind), part) = (bits.get(whole..), clusters % 64) else { return true };
    behind.iter().enumerate().all(|(at, word)| match at {
        0 => word >> part == 0,
        _ => *word == 0,
    })
}

/// The next generation of a page whose slot of `durable` must stay, and none of whose sectors has a
/// generation beyond `used`.
pub fn next_generation(durable: u64, used: u64) -> u64 {
    let next = used + 1;
    next + u64::from(slot_of(next) == slot_of(durable))
}
