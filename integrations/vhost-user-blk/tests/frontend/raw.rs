//! The frontend's socket without a library: whole messages, parts of them, any descriptors.

use std::io::{IoSlice, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

pub const GET_FEATURES: u32 = 1;
pub const SET_FEATURES: u32 = 2;
pub const SET_OWNER: u32 = 3;
pub const SET_MEM_TABLE: u32 = 5;
pub const SET_VRING_NUM: u32 = 8;
pub const SET_VRING_ADDR: u32 = 9;
pub const SET_VRING_BASE: u32 = 10;
pub const GET_VRING_BASE: u32 = 11;
pub const SET_VRING_KICK: u32 = 12;
pub const SET_VRING_CALL: u32 = 13;
pub const SET_VRING_ERR: u32 = 14;
pub const GET_PROTOCOL_FEATURES: u32 = 15;
pub const SET_PROTOCOL_FEATURES: u32 = 16;
pub const SET_VRING_ENABLE: u32 = 18;
pub const SET_INFLIGHT_FD: u32 = 32;
pub const ADD_MEM_REG: u32 = 37;
pub const REM_MEM_REG: u32 = 38;

/// In the flags: the version, and that an answer is wanted.
pub const VERSION: u32 = 1;
pub const NEED_REPLY: u32 = 8;

pub struct Raw(pub UnixStream);

impl Raw {
    pub fn connect(socket: &Path) -> Raw {
        Raw(UnixStream::connect(socket).unwrap())
    }

    /// Sends bytes as they are, `descriptors` with the first of them.
    pub fn send(&self, bytes: &[u8], descriptors: &[RawFd]) -> Result<usize> {
        let iov = [IoSlice::new(bytes)];
        let mut control = [0u64; 160];
        // SAFETY: zeros are fine; what the header names lives through the call, and the buffer has
        // room for the most descriptors that there can be (253).
        let sent = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = iov.as_ptr().cast_mut().cast();
            header.msg_iovlen = 1;
            if !descriptors.is_empty() {
                let length = size_of_val(descriptors) as u32;
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(length) as usize;
                let first = libc::CMSG_FIRSTHDR(&header);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(length) as usize;
                let data = libc::CMSG_DATA(first).cast::<RawFd>();
                for (index, fd) in descriptors.iter().enumerate() {
                    data.add(index).write_unaligned(*fd);
                }
            }
            libc::sendmsg(self.0.as_raw_fd(), &header, libc::MSG_NOSIGNAL)
        };
        usize::try_from(sent).map_err(|_| std::io::Error::last_os_error())
    }

    pub fn message(&self, request: u32, flags: u32, body: &[u8], fds: &[RawFd]) -> Result<usize> {
        self.send(&message(request, flags, body), fds)
    }
}

pub fn message(request: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [request, flags, body.len() as u32] {
        bytes.extend_from_slice(&number.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// An eventfd of which no more can be taken, and that makes who tries wait.
pub fn full_blocking_eventfd() -> OwnedFd {
    // SAFETY: makes a descriptor, which nobody else has.
    let eventfd = unsafe { OwnedFd::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
    add(&eventfd, u64::MAX - 1);
    eventfd
}

/// Adds to an eventfd.
pub fn add(eventfd: &OwnedFd, count: u64) {
    let bytes = count.to_ne_bytes();
    // SAFETY: eight bytes.
    let written = unsafe { libc::write(eventfd.as_raw_fd(), bytes.as_ptr().cast(), 8) };
    assert_eq!(written, 8);
}

/// The end of a pipe that makes who writes to it wait, and the other end.
pub fn full_blocking_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer: OwnedFd = writer.into();
    // SAFETY: ours; the bytes live through the call.
    unsafe {
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK);
        while libc::write(writer.as_raw_fd(), [0u8; 4096].as_ptr().cast(), 4096) > 0 {}
        libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, 0);
    }
    (writer, reader.into())
}
