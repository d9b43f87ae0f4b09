//! A connection to a vhost-user-blk back end, and a disk's driver in its simplest form.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vhost::vhost_user::message::*;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VringConfigData};

use super::memory::{Memory, GUEST_BASE};
use super::ring::{Ring, NEXT, RING_BYTES, WRITE};

pub const EVENT_IDX: u64 = 1 << 29;
pub const INDIRECT_DESC: u64 = 1 << 28;
pub const VERSION_1: u64 = 1 << 32;
pub const PROTOCOL: u64 = 1 << 30;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

pub const OK: u8 = 0;
pub const IOERR: u8 = 1;
pub const UNSUPP: u8 = 2;

/// How long the device may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Inflight {
    pub about: VhostUserInflight,
    pub file: File,
}

pub struct Guest {
    pub frontend: Frontend,
    pub memory: Arc<Memory>,
    pub rings: Vec<Ring>,
    pub features: u64,
    pub offered: u64,
}

pub struct Wishes {
    pub queues: u64,
    pub size: u16,
    /// Features that are not wanted although they are offered.
    pub without: u64,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes { queues: 1, size: 128, without: 0 }
    }
}

impl Guest {
    /// Connects and starts the rings.
    pub fn connect(socket: &Path, memory: Arc<Memory>, wishes: &Wishes) -> Guest {
        let mut guest = Guest::negotiate(socket, memory, wishes);
        guest.rings = (0..wishes.queues)
            .map(|index| {
                let event_idx = guest.features & EVENT_IDX != 0;
                Ring::new(guest.memory.clone(), index, wishes.size, event_idx)
            })
            .collect();
        guest.start(&vec![0; wishes.queues as usize]);
        guest
    }

    /// Connects, and starts nothing.
    pub fn negotiate(socket: &Path, memory: Arc<Memory>, wishes: &Wishes) -> Guest {
        let mut frontend = Frontend::connect(socket, 64).expect("no back end");
        frontend.set_owner().unwrap();
        let offered = frontend.get_features().unwrap();
        let protocol = frontend.get_protocol_features();
        // The driver of `vhost` asks for the acknowledgement first.
        let features = offered & !wishes.without;
        let protocol = protocol.or_else(|_| {
            frontend.set_features(features).unwrap();
            frontend.get_protocol_features()
        });
        let known = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS;
        let protocol = protocol.unwrap() & known;
        frontend.set_protocol_features(protocol).unwrap();
        frontend.set_features(features).unwrap();
        if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        frontend.set_mem_table(&memory.table()).unwrap();
        Guest { frontend, memory, rings: Vec::new(), features, offered }
    }

    /// `bases`: where each ring goes on.
    pub fn start(&mut self, bases: &[u16]) {
        for (index, base) in bases.iter().enumerate() {
            self.start_ring(index, *base);
        }
    }

    pub fn start_ring(&mut self, index: usize, base: u16) {
        let ring = &self.rings[index];
        let user = |guest| ring.memory.at(guest) as u64;
        let data = VringConfigData {
            queue_max_size: ring.size,
            queue_size: ring.size,
            flags: 0,
            desc_table_addr: user(ring.descriptors_at()),
            used_ring_addr: user(ring.used_at()),
            avail_ring_addr: user(ring.available_at()),
            log_addr: None,
        };
        let frontend = &mut self.frontend;
        frontend.set_vring_num(index, ring.size).unwrap();
        frontend.set_vring_base(index, base).unwrap();
        frontend.set_vring_addr(index, &data).unwrap();
        frontend.set_vring_kick(index, &ring.kick).unwrap();
        frontend.set_vring_call(index, &ring.call).unwrap();
        frontend.set_vring_err(index, &ring.err).unwrap();
        frontend.set_vring_enable(index, true).unwrap();
    }

    /// Stops the ring; gives where it stands.
    pub fn stop_ring(&mut self, index: usize) -> u16 {
        self.frontend.set_vring_enable(index, false).unwrap();
        self.frontend.get_vring_base(index).unwrap() as u16
    }

    pub fn config(&mut self, bytes: u32) -> Vec<u8> {
        let zeros = vec![0; bytes as usize];
        let flags = VhostUserConfigFlags::WRITABLE;
        self.frontend.get_config(0, bytes, flags, &zeros).unwrap().1
    }

    pub fn new_inflight(&mut self) -> Inflight {
        let wanted = VhostUserInflight::new(0, 0, self.rings.len() as u16, self.rings[0].size);
        let (about, file) = self.frontend.get_inflight_fd(&wanted).unwrap();
        let inflight = Inflight { about, file };
        self.give_inflight(&inflight);
        inflight
    }

    pub fn give_inflight(&mut self, inflight: &Inflight) {
        self.frontend.set_inflight_fd(&inflight.about, inflight.file.as_raw_fd()).unwrap();
    }

    /// Where memory begins that no ring uses.
    pub fn data_at(&self) -> u64 {
        GUEST_BASE + RING_BYTES * self.rings.len() as u64
    }

    /// Puts a request into the descriptors from `first` on, its memory at `at`: header, data,
    /// status. Returns where the data are.
    pub fn prepare(&self, queue: usize, first: u16, at: u64, request: &Request) -> u64 {
        let Request { kind, sector, bytes, writes } = *request;
        let ring = &self.rings[queue];
        self.memory.write(at, &header(kind, sector));
        self.memory.write(at + 16, &[0xaa]);
        let data = at + 32;
        let (direction, second) = (if writes { WRITE } else { 0 }, first + 1);
        ring.set_descriptor(first, at, 16, NEXT, second);
        if bytes > 0 {
            ring.set_descriptor(second, data, bytes, NEXT | direction, second + 1);
            ring.set_descriptor(second + 1, at + 16, 1, WRITE, 0);
        } else {
            ring.set_descriptor(second, at + 16, 1, WRITE, 0);
        }
        data
    }

    /// Carries out one request; gives its status, or None where the device says that it has
    /// written nothing at all.
    pub fn run(&mut self, queue: usize, request: &Request, data: &[u8]) -> Option<u8> {
        let at = self.data_at();
        let data_at = self.prepare(queue, 0, at, request);
        self.memory.write(data_at, data);
        self.rings[queue].offer(0);
        self.rings[queue].publish();
        let (head, written) = self.rings[queue].wait_used(PATIENCE).expect("no answer");
        assert_eq!(head, 0);
        (written > 0).then(|| self.memory.read(at + 16, 1)[0])
    }

    pub fn read(&mut self, queue: usize, sector: u64, bytes: u32) -> Result<Vec<u8>, Option<u8>> {
        let request = Request { kind: IN, sector, bytes, writes: true };
        match self.run(queue, &request, &[]) {
            Some(OK) => Ok(self.memory.read(self.data_at() + 32, bytes as usize)),
            status => Err(status),
        }
    }

    pub fn write(&mut self, queue: usize, sector: u64, data: &[u8]) -> Option<u8> {
        let request = Request { kind: OUT, sector, bytes: data.len() as u32, writes: false };
        self.run(queue, &request, data)
    }

    pub fn flush(&mut self, queue: usize) -> Option<u8> {
        self.run(queue, &Request { kind: FLUSH, sector: 0, bytes: 0, writes: false }, &[])
    }

    /// A request that clears ranges: sector, sectors, flags.
    pub fn clear(&mut self, queue: usize, kind: u32, ranges: &[(u64, u32, u32)]) -> Option<u8> {
        let mut data = Vec::new();
        for (sector, sectors, flags) in ranges {
            data.extend_from_slice(&sector.to_le_bytes());
            data.extend_from_slice(&sectors.to_le_bytes());
            data.extend_from_slice(&flags.to_le_bytes());
        }
        let bytes = data.len() as u32;
        self.run(queue, &Request { kind, sector: 0, bytes, writes: false }, &data)
    }
}

/// What `prepare` makes a chain of. `writes`: the device writes the data.
#[derive(Clone, Copy)]
pub struct Request {
    pub kind: u32,
    pub sector: u64,
    pub bytes: u32,
    pub writes: bool,
}

pub fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    header
}
