//! The device: what the frontend's messages do (the vhost-user protocol, back end's side).

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use vhost::vhost_user::message::*;
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use vhost::VhostUserMemoryRegionBase;
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use crate::disk::Disk;
use crate::fault;
use crate::inflight::Inflight;
use crate::memory::{Memory, Region};
use crate::options::Options;
use crate::queue::{translate, Common, Queue};
use crate::refresh::Notices;
use crate::report;
use crate::ring::Addresses;
use crate::throttle::{Change, Throttling};

/// Regions of memory that a frontend may give; QEMU has one for each slot of memory.
const MEMORY_SLOTS: u64 = 509;

pub struct Device {
    disk: Arc<Disk>,
    queues: Vec<Queue>,
    queue_size_max: u16,
    /// Guest memory is registered with the queues, and so pinned.
    registers: bool,
    /// Most time that a queue looks for work before it sleeps.
    spin_max: Duration,
    throttling: Throttling,
    memory: Arc<Memory>,
    /// What of it is registered with every queue.
    registered: Vec<Arc<Region>>,
    inflight: Option<Inflight>,
    /// Where the frontend takes messages of ours.
    notices: Option<Notices>,
    features: u64,
    /// What the driver wants, in the configuration space.
    write_cache_wanted: bool,
}

impl Device {
    /// `storage`: one for each queue.
    pub fn new(
        disk: Disk,
        storage: Vec<blkalign::Queue>,
        throttling: Throttling,
        options: &Options,
    ) -> Device {
        let queues = storage.into_iter().enumerate();
        let queues = queues.map(|(index, storage)| Queue::new(index as u16, Arc::new(storage)));
        Device {
            disk: Arc::new(disk),
            queues: queues.collect(),
            queue_size_max: options.queue_size,
            registers: options.pin_memory,
            spin_max: options.spin_max,
            throttling,
            memory: Arc::default(),
            registered: Vec::new(),
            inflight: None,
            notices: None,
            features: 0,
            write_cache_wanted: true,
        }
    }

    /// The frontend has gone: everything as before it came, with nothing in flight.
    pub fn disconnected(&mut self) {
        self.queues.iter_mut().for_each(Queue::reset);
        self.inflight = None;
        self.notices = None;
        // Nothing runs that a new memory could disturb.
        let _ = self.replace_memory(Memory::default());
        fault::forget();
        self.features = 0;
        self.want_write_cache(true);
    }

    pub fn set_notices(&mut self, notices: Notices) {
        self.notices = Some(notices);
    }

    /// Looks up how long the storage is now, and tells the guest if that is new.
    pub fn refresh(&mut self) {
        match self.queues[0].storage.refresh_len() {
            Ok(bytes) if self.disk.set_length(bytes) => {
                report::say(&format!("the disk now has {} sectors", self.disk.sectors()));
                self.notices.iter().for_each(Notices::configuration_changed);
            }
            Ok(_) => report::say("the length of the disk has not changed"),
            Err(error) => report::say(&format!("looking up the length of the disk: {error}")),
        }
    }

    /// Reads the limits again that requests have to keep to.
    pub fn refresh_limits(&mut self) {
        let result = match self.throttling.refresh() {
            Ok(Change::Nothing) => return,
            Ok(Change::InForce) => Ok(()),
            Ok(Change::Group) => {
                self.pause_all();
                self.resume_all().map_err(|error| error.to_string())
            }
            Err(words) => Err(format!("the limits stay as they were: {words}")),
        };
        match result {
            Ok(()) => report::say("other limits are in force"),
            Err(words) => report::say(&words),
        }
    }

    fn queue(&mut self, index: u32) -> Result<&mut Queue> {
        self.queues.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    /// Changes a queue while nothing runs in it.
    fn change(&mut self, index: u32, change: impl FnOnce(&mut Queue)) -> Result<()> {
        let queue = self.queue(index)?;
        queue.pause();
        change(queue);
        self.resume(index as usize)
    }

    fn resume(&mut self, index: usize) -> Result<()> {
        let common = Common {
            disk: &self.disk,
            memory: &self.memory,
            inflight: self.inflight.as_ref(),
            event_idx: self.features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
            registered: self.registers,
            spin_max: self.spin_max,
            throttle: self.throttling.group(),
        };
        self.queues[index].resume(&common)
    }

    fn resume_all(&mut self) -> Result<()> {
        (0..self.queues.len()).try_for_each(|index| self.resume(index))
    }

    fn pause_all(&mut self) {
        self.queues.iter_mut().for_each(Queue::pause);
    }

    /// Nothing is in flight in the memory before this one when it goes. If it fails all is as
    /// before.
    fn replace_memory(&mut self, memory: Memory) -> Result<()> {
        self.pause_all();
        let before = self.memory.clone();
        self.exchange_memory(Arc::new(memory)).inspect_err(|_| {
            self.pause_all();
            // With this one all went well before.
            let _ = self.exchange_memory(before);
        })
    }

    /// While no queue runs.
    fn exchange_memory(&mut self, memory: Arc<Memory>) -> Result<()> {
        if self.registers {
            self.register(memory.regions())?;
        }
        self.memory = memory;
        self.resume_all()
    }

    /// Registers regions with all queues, and no other ones any more. If it fails some are not,
    /// and `registered` says which are.
    fn register(&mut self, wanted: &[Arc<Region>]) -> Result<()> {
        let is_in = |region: &Arc<Region>, all: &[Arc<Region>]| {
            all.iter().any(|other| Arc::ptr_eq(region, other))
        };
        let unregister = |queues: &[Queue], region: &Region| {
            for queue in queues {
                // It fails only where it is not registered.
                let _ = queue.storage.unregister(region.start(), region.bytes());
            }
        };
        self.registered.retain(|region| {
            let stays = is_in(region, wanted);
            if !stays {
                unregister(&self.queues, region);
            }
            stays
        });
        for region in wanted {
            if is_in(region, &self.registered) {
                continue;
            }
            for (index, queue) in self.queues.iter().enumerate() {
                // SAFETY: `registered` keeps the mapping until it is unregistered above.
                let result = unsafe { queue.storage.register(region.start(), region.bytes()) };
                if let Err(error) = result {
                    unregister(&self.queues[..index], region);
                    let error = io::Error::from_raw_os_error(error.raw_os_error());
                    return Err(Error::ReqHandlerError(error));
                }
            }
            self.registered.push(region.clone());
        }
        Ok(())
    }

    fn want_write_cache(&mut self, on: bool) {
        self.write_cache_wanted = on;
        if let Some(inflight) = &self.inflight {
            inflight.set_write_through(!on);
        }
        self.apply_write_cache();
    }

    /// A driver that can neither flush nor say what it wants gets a disk that needs no flush: the
    /// firmware's, say. The next one is asked anew.
    fn write_cache(&self) -> bool {
        let asked = self.has(VIRTIO_BLK_F_FLUSH) || self.has(VIRTIO_BLK_F_CONFIG_WCE);
        self.write_cache_wanted && (self.features == 0 || asked)
    }

    fn apply_write_cache(&self) {
        let on = self.write_cache() && !self.disk.through.load(Ordering::Relaxed);
        self.queues.iter().for_each(|queue| queue.storage.set_write_cache(on));
    }

    /// The disk is an overlay that has everything by now: a cache does no harm any more.
    pub fn has_all(&mut self) {
        self.disk.through.store(false, Ordering::Relaxed);
        self.apply_write_cache();
    }

    /// Closes the storage, after the last frontend.
    pub fn close(&mut self) {
        self.queues.clear();
    }

    fn has(&self, bit: u32) -> bool {
        self.features & (1 << bit) != 0
    }
}

/// For what this device does not offer.
fn unsupported<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered by this back end"))
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        // As QEMU has it: all rings stop.
        self.queues.iter_mut().for_each(Queue::reset);
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.queues.iter_mut().for_each(Queue::reset);
        self.features = 0;
        self.want_write_cache(true);
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.disk.features() | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.get_features()? != 0 {
            return Err(Error::InvalidParam);
        }
        self.pause_all();
        self.features = features;
        if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            self.queues.iter_mut().for_each(|queue| queue.enabled = true);
        }
        self.apply_write_cache();
        self.resume_all()
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let regions = table.iter().zip(files).map(|(region, file)| {
            let (guest, user, bytes) =
                (region.guest_phys_addr, region.user_addr, region.memory_size);
            Region::new(guest, user, bytes, region.mmap_offset, file)
        });
        let memory = Memory::new(regions.collect::<Result<_>>()?)?;
        self.replace_memory(memory).map(|()| None)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MEMORY_SLOTS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        let mut regions = self.memory.regions().to_vec();
        if regions.len() as u64 >= MEMORY_SLOTS {
            return Err(Error::InvalidOperation("more regions than there are slots"));
        }
        let (guest, user, bytes) = (region.guest_phys_addr, region.user_addr, region.memory_size);
        regions.push(Region::new(guest, user, bytes, region.mmap_offset, file)?);
        self.replace_memory(Memory::new(regions)?).map(|()| None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let (guest, user, bytes) = (region.guest_phys_addr, region.user_addr, region.memory_size);
        let before = self.memory.regions();
        let regions: Vec<_> =
            before.iter().filter(|r| !r.is(guest, user, bytes)).cloned().collect();
        if regions.len() == before.len() {
            return Err(Error::InvalidParam);
        }
        self.replace_memory(Memory::new(regions)?)
    }

    fn set_vring_num(&mut self, index: u32, size: u32) -> Result<()> {
        let size = u16::try_from(size).map_err(|_| Error::InvalidParam)?;
        if !size.is_power_of_two() || size > self.queue_size_max {
            report::say(&format!(
                "the frontend wants a queue of {size} descriptors; a power of two of at most {} is \
                 allowed (--queue-size)",
                self.queue_size_max
            ));
            return Err(Error::InvalidParam);
        }
        self.change(index, |queue| queue.size = size)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptors: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let addresses = Addresses { descriptors, available, used };
        if !self.memory.is_empty() && translate(&self.memory, addresses).is_none() {
            return Err(Error::InvalidParam);
        }
        self.change(index, |queue| queue.addresses = Some(addresses))
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.change(index, |queue| queue.base = base)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let queue = self.queue(index)?;
        queue.pause();
        queue.kick = None;
        Ok(VhostUserVringState::new(index, queue.base.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        if fd.is_none() {
            // It would have us poll the ring without end.
            return Err(Error::InvalidOperation("a ring without a kick descriptor"));
        }
        self.change(index.into(), |queue| queue.kick = fd)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.queue(index.into())?.call.replace(fd);
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.queue(index.into())?.err.replace(fd);
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    }

    fn set_protocol_features(&mut self, _features: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.queues.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change(index, |queue| queue.enabled = enable)
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        self.disk.config(offset, size, self.write_cache()).ok_or(Error::InvalidParam)
    }

    fn set_config(&mut self, offset: u32, bytes: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        let on = self.disk.write_cache_of(offset, bytes).ok_or(Error::InvalidParam)?;
        self.want_write_cache(on);
        Ok(())
    }

    fn get_inflight_fd(&mut self, wanted: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let (queues, size) = (wanted.num_queues, wanted.queue_size);
        if usize::from(queues) > self.queues.len() || size > self.queue_size_max {
            return Err(Error::InvalidParam);
        }
        let file = Inflight::create(queues, size).map_err(Error::ReqHandlerError)?;
        let bytes = Inflight::bytes(queues, size);
        Ok((VhostUserInflight::new(bytes, 0, queues, size), file))
    }

    fn set_inflight_fd(&mut self, given: &VhostUserInflight, file: File) -> Result<()> {
        let (queues, size) = (given.num_queues, given.queue_size);
        let inflight = Inflight::map(file, given.mmap_offset, given.mmap_size, queues, size);
        let inflight = inflight.ok_or(Error::InvalidParam)?;
        self.pause_all();
        let write_cache = self.write_cache_wanted && !inflight.is_write_through();
        self.inflight = Some(inflight);
        self.want_write_cache(write_cache);
        self.resume_all()
    }

    fn set_gpu_socket(&mut self, _gpu_backend: GpuBackend) -> Result<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _uuid: VhostUserSharedMsg) -> Result<File> {
        unsupported()
    }

    fn set_device_state_fd(
        &mut self,
        _direction: VhostTransferStateDirection,
        _phase: VhostTransferStatePhase,
        _fd: File,
    ) -> Result<Option<File>> {
        unsupported()
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, _log: &VhostUserLog, _file: File) -> Result<()> {
        unsupported()
    }
}
