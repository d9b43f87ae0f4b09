//! Overlays: opening them over a backing object, what is there, the fill, and what is to be saved
//! when the last handle goes.

use std::ffi::CStr;
use std::sync::Arc;

use super::{Callback, Handle, Held, Options, Submission};
use crate::driver::Segments;
use crate::driver::{map_path, Backing, Driver, FileDriver, Layers, MapFile, Op, OverlayDriver};
use crate::handle::storage::Storage;
use crate::log;
use crate::node::{is_open, overlay_node, Node};
use crate::sys::Error;
use blkalign_machine::{OverlayState, RequestFlags};

/// Most bytes that are copied up as one.
const PIECE: u64 = 512 << 10;
/// Bytes that a fill copies before others have their turn.
const WINDOW: u64 = 4 << 20;
/// Bytes after which a fill saves the map.
const SAVE_AFTER: u64 = 64 << 20;

/// What an overlay is opened with, besides the options of any handle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OverlayOptions {
    /// What a read takes from the backing object is kept.
    pub copy_on_read: bool,
    /// 0: whatever the map says.
    pub cluster: u32,
}

impl Handle {
    pub fn open_overlay(
        path: &CStr,
        backing: Box<dyn Backing>,
        options: &Options,
        overlay: OverlayOptions,
    ) -> Result<Handle, Error> {
        options.check()?;
        let name = path.to_string_lossy().into_owned();
        check_options(&name, options, overlay)?;
        let top = FileDriver::open(path, &options.file_options())?;
        let refuse = |errno, what: String| Err(Error::new(errno, format!("{name}: {what}")));
        if top.is_device() {
            return refuse(libc::EINVAL, "the top of an overlay is a file, not a device".into());
        }
        let busy = || {
            let words = format!("{name}: this process has it open; blkalign_dup() opens more");
            Error::new(libc::EBUSY, words)
        };
        if is_open(top.identity()) {
            return Err(busy());
        }
        let length = top.length()?;
        let (map, there) = match MapFile::open(&map_path(path), length) {
            Err(error) if error.errno == libc::ENOENT => {
                let words = format!(
                    "no map of an overlay ({name}.map): if all of it is there it is an ordinary \
                     image, to be opened as such; if the map is lost, so is what was absent"
                );
                return refuse(libc::ENOENT, words);
            }
            result => result?,
        };
        let (cluster, block) = (u64::from(map.cluster()), top.limits().alignments.request);
        if overlay.cluster != 0 && overlay.cluster != map.cluster() {
            let words = format!("its clusters are {cluster} bytes, not {}", overlay.cluster);
            return refuse(libc::EINVAL, words);
        }
        if block > cluster {
            let words =
                format!("its clusters of {cluster} bytes are smaller than a block, {block}");
            return refuse(libc::EINVAL, words);
        }
        let state = OverlayState {
            cluster,
            there,
            page_clusters: MapFile::page_clusters(),
            piece: PIECE,
            window: WINDOW.max(cluster),
            save_after: SAVE_AFTER,
        };
        let node = overlay_node(top.identity(), length, state).ok_or_else(busy)?;
        let layers = Arc::new(Layers::new(map, backing, overlay.copy_on_read));
        Handle::on_overlay(top, layers, node, name, options)
    }

    pub(super) fn on_overlay(
        top: FileDriver,
        layers: Arc<Layers>,
        node: Arc<Node>,
        name: String,
        options: &Options,
    ) -> Result<Handle, Error> {
        check_options(&name, options, OverlayOptions::default())?;
        let claim = super::open::claim_object(&top, &name)?;
        let lock = options.image_lock().map(|how| top.lock_image(how)).transpose()?;
        let limits = top.limits().clone();
        let length = layers.length();
        let keeps = layers.keeps_reads && options.writable;
        let storage = Storage::Overlay(Arc::new(OverlayDriver { top: Arc::new(top), layers }));
        let held = Held { lock, claim: Some(claim) };
        let handle = Handle::new(storage, node, name, limits, held, options)?;
        if keeps {
            handle.endpoint.node.keep_reads(handle.endpoint.id());
        }
        handle.showing(length, options)
    }

    /// Whether the bytes from `offset` on are there, and for how many bytes, at most `bytes`, that
    /// is so. The range lies inside, and is not empty.
    pub fn overlay_run(&self, offset: u64, bytes: u64) -> Result<(bool, u64), Error> {
        self.check_overlay()?;
        let length = self.length();
        if bytes == 0 || offset + bytes > length {
            let words = format!(
                "{}: {bytes} bytes at offset {offset} are none, or pass the end at {length}",
                self.endpoint.name
            );
            return Err(Error::new(libc::EINVAL, words));
        }
        let (there, end) = self.endpoint.node.overlay_run(offset, offset + bytes);
        Ok((there, end - offset))
    }

    /// Copies all that is absent. As `submit`.
    pub fn fill_overlay(&self, callback: Callback) -> Result<u64, Error> {
        self.check_overlay()?;
        self.submit(populate(0), callback, |_| {})
    }

    pub fn check_overlay(&self) -> Result<(), Error> {
        match self.storage {
            Storage::Overlay(_) => Ok(()),
            _ => {
                let words = format!("{}: not opened as an overlay", self.endpoint.name);
                Err(Error::new(libc::EINVAL, words))
            }
        }
    }

    /// The handle is about to be closed, and nothing of it is in flight: what it has brought is to
    /// be found by the next open.
    pub(super) fn save_overlay(&self) {
        let (saved, _) = self.endpoint.node.overlay_is_saved();
        if saved || !self.writable || self.endpoint.node.is_poisoned() {
            return;
        }
        if let Err(error) = self.run_anywhere(populate(self.length())) {
            log::error!("{error}; what was copied since the last flush is absent again");
        }
    }

    /// The handle is closed. The last one of an overlay in which nothing is absent removes the map.
    pub(super) fn leave_overlay(layers: &Layers, complete: bool) {
        if layers.note_closed() && complete {
            layers.remove_map();
        }
    }

    pub(super) fn is_complete_overlay(&self) -> bool {
        !self.endpoint.node.is_poisoned() && self.endpoint.node.overlay_is_saved() == (true, true)
    }
}

/// All that is absent from `offset` on is to be there, and saved.
fn populate(offset: u64) -> Submission {
    let flags = RequestFlags::default();
    Submission {
        op: Op::Populate,
        flags,
        guest_block: 0,
        offset,
        bytes: 0,
        segments: Segments::new(),
    }
}

fn check_options(name: &str, options: &Options, overlay: OverlayOptions) -> Result<(), Error> {
    let refuse = |errno, what| Err(Error::new(errno, format!("{name}: {what}")));
    if options.resize || options.window_offset != 0 || options.window_length != 0 {
        return refuse(libc::ENOTSUP, "an overlay has neither windows nor BLKALIGN_O_RESIZE");
    }
    if options.create {
        return refuse(libc::EINVAL, "blkalign_overlay_create() creates overlays");
    }
    if overlay.copy_on_read && !options.writable {
        return refuse(libc::EINVAL, "BLKALIGN_OVERLAY_COPY_ON_READ needs BLKALIGN_O_RDWR");
    }
    Ok(())
}

/// The handle under an overlay.
pub struct BackingHandle<H>(pub H);

impl<H: AsRef<Handle> + Send + Sync> Backing for BackingHandle<H> {
    unsafe fn read(&self, segments: &[crate::driver::Segment], offset: u64) -> Result<(), i32> {
        let segments = Segments::from_slice(segments);
        let bytes = segments.iter().map(|segment| segment.bytes as u64).sum();
        let (op, flags) = (Op::Read, RequestFlags::default());
        let submission = Submission { op, flags, guest_block: 0, offset, bytes, segments };
        self.0.as_ref().run_anywhere(submission).map_err(|error| error.errno)
    }

    fn length(&self) -> u64 {
        self.0.as_ref().length()
    }
}
