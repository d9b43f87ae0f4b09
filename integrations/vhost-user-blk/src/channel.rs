//! The frontend's socket. The crate `vhost` waits for a socket without end, whatever limit it has;
//! so it gets one end of a pair of our own, where a message is there as a whole before the crate
//! looks, and where its answer has room. The frontend's socket is read and written here: as long as
//! a message takes from its first byte to its last, or an answer to be taken, there is a limit in
//! time, and a signal comes before both.
//!
//! Descriptors that come with a message are looked at here, before anybody uses them (`foreign`).

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{FrontendReq, MAX_ATTACHED_FD_ENTRIES, MAX_MSG_SIZE};

use crate::fault;
use crate::foreign;
use crate::refresh::Notices;
use crate::server::{Signals, Wake};

/// How long a frontend may take for the rest of a message, or to make room for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a message: request, flags, bytes that follow.
const HEADER: usize = 12;
/// The most descriptors that Linux sends at once.
const DESCRIPTORS_MAX: usize = 253;

/// Why the frontend is not served any more.
#[derive(Debug)]
pub enum Ending {
    /// It has gone.
    Gone,
    /// A signal asks us to end.
    Signal,
    /// It broke the rules.
    Fault(String),
}

impl From<Error> for Ending {
    fn from(error: Error) -> Ending {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ending::Gone,
            _ => Ending::Fault(error.to_string()),
        }
    }
}

type Outcome<T> = std::result::Result<T, Ending>;

pub struct Channel<'a> {
    frontend: UnixStream,
    inner: UnixStream,
    signals: &'a Signals,
    /// Where the frontend takes messages of ours.
    notices: Option<OwnedFd>,
}

#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Channel<'_> {
    /// The channel, and the socket for the crate.
    pub fn new(frontend: UnixStream, signals: &Signals) -> Result<(Channel<'_>, UnixStream)> {
        frontend.set_nonblocking(true)?;
        let (inner, crates) = UnixStream::pair()?;
        inner.set_nonblocking(true)?;
        Ok((Channel { frontend, inner, signals, notices: None }, crates))
    }

    /// Hands the frontend's next message to the crate, when it is there as a whole. Gives what is
    /// requested.
    pub fn receive(&mut self) -> Outcome<u32> {
        let mut message = Message::default();
        let result = self.read(&mut message).and_then(|()| check_descriptors(&message));
        if let Err(fault) = result {
            foreign::close(message.descriptors);
            return Err(fault);
        }
        let raw: Vec<RawFd> = message.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        if let Err(error) = send(&self.inner, &message.bytes, &raw) {
            foreign::close(message.descriptors);
            return Err(error.into());
        }
        if message.is(FrontendReq::REM_MEM_REG) {
            foreign::close(std::mem::take(&mut message.descriptors));
        }
        if message.is(FrontendReq::SET_BACKEND_REQ_FD) {
            // The crate keeps it to itself.
            self.notices = message.descriptors.pop();
        }
        Ok(message.request())
    }

    /// What the last message has brought of it.
    pub fn take_notices(&mut self) -> Option<Notices> {
        self.notices.take().map(Notices::new)
    }

    /// Hands the crate's answer to the frontend, if there is one.
    pub fn answer(&mut self) -> Outcome<bool> {
        let mut answer = Message::default();
        let room = HEADER + MAX_MSG_SIZE;
        match receive(&self.inner, room, &mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + PATIENCE;
        let mut raw: Vec<RawFd> = answer.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let mut left = answer.bytes.as_slice();
        while !left.is_empty() {
            match send(&self.frontend, left, &raw) {
                Ok(count) => {
                    left = &left[count..];
                    raw.clear();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(libc::POLLOUT, Some(until), "the frontend does not take answers")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn read(&self, message: &mut Message) -> Outcome<()> {
        // Between two messages a guest may run for years.
        self.wait(libc::POLLIN, None, "")?;
        let until = Instant::now() + PATIENCE;
        self.read_until(HEADER, until, message)?;
        let bytes = u32::from_ne_bytes(message.bytes[8..HEADER].try_into().expect("4 bytes"));
        if bytes as usize > MAX_MSG_SIZE {
            return Err(Ending::Fault(format!("a message of {bytes} bytes")));
        }
        self.read_until(HEADER + bytes as usize, until, message)
    }

    /// Until the message has `wanted` bytes.
    fn read_until(&self, wanted: usize, until: Instant, message: &mut Message) -> Outcome<()> {
        while message.bytes.len() < wanted {
            match receive(&self.frontend, wanted - message.bytes.len(), message) {
                Ok(0) if message.bytes.is_empty() => return Err(Ending::Gone),
                Ok(0) => return Err(Ending::Fault("a frontend left within a message".into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(libc::POLLIN, Some(until), "a message came only in part")?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&self, events: i16, until: Option<Instant>, words: &str) -> Outcome<()> {
        match self.signals.wait_for(self.frontend.as_raw_fd(), events, until)? {
            Wake::Ready => Ok(()),
            Wake::Signal => Err(Ending::Signal),
            Wake::Late => Err(Ending::Fault(words.into())),
            Wake::Broken => Err(Ending::Fault(fault::WORDS.into())),
        }
    }

    /// What nobody has read may have descriptors with it, which the socket closes.
    pub fn close(self) {
        foreign::close(vec![self.frontend.into()]);
    }
}

impl Message {
    /// One that is there as a whole.
    fn request(&self) -> u32 {
        u32::from_ne_bytes(self.bytes[..4].try_into().expect("4 bytes"))
    }

    fn is(&self, request: FrontendReq) -> bool {
        self.request() == request as u32
    }
}

/// The crate closes what it does not want, so it only gets what can be closed at once.
fn check_descriptors(message: &Message) -> Outcome<()> {
    if message.descriptors.len() > MAX_ATTACHED_FD_ENTRIES {
        return Err(Ending::Fault("more descriptors than a message has".into()));
    }
    let any = |requests: &[FrontendReq]| requests.iter().any(|&request| message.is(request));
    let all = |kind: fn(RawFd) -> bool| message.descriptors.iter().all(|fd| kind(fd.as_raw_fd()));
    use FrontendReq::*;
    if message.descriptors.is_empty() || any(&[REM_MEM_REG]) {
        Ok(())
    } else if any(&[SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR]) {
        let words = "a descriptor of a ring is not an eventfd";
        all(foreign::is_eventfd).then_some(()).ok_or_else(|| Ending::Fault(words.into()))
    } else if any(&[SET_MEM_TABLE, ADD_MEM_REG, SET_INFLIGHT_FD]) {
        let words = "memory is neither a memfd nor a file of a local file system";
        all(foreign::is_memory).then_some(()).ok_or_else(|| Ending::Fault(words.into()))
    } else if any(&[SET_BACKEND_REQ_FD]) {
        let words = "the descriptor for messages of the back end is not a socket";
        all(foreign::is_socket).then_some(()).ok_or_else(|| Ending::Fault(words.into()))
    } else {
        Err(Ending::Fault("descriptors come with a message that takes none".into()))
    }
}

/// As much as there is, at most `room` bytes.
fn receive(socket: &UnixStream, room: usize, message: &mut Message) -> Result<usize> {
    let before = message.bytes.len();
    message.bytes.resize(before + room, 0);
    let mut iov =
        libc::iovec { iov_base: message.bytes[before..].as_mut_ptr().cast(), iov_len: room };
    // Of the alignment that control messages want.
    let mut control = [0u64; 8 + DESCRIPTORS_MAX / 2];
    // SAFETY: a struct of integers and pointers, for which zeros are fine.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: everything that the header names lives through the call.
    let result = retry(|| unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, flags) });
    message.bytes.truncate(before + *result.as_ref().unwrap_or(&0));
    if result.is_ok() {
        // SAFETY: the kernel has filled the header in.
        unsafe { take_descriptors(&header, &mut message.descriptors) };
        if header.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(Error::other("no descriptors left for those of a message"));
        }
    }
    result
}

/// # Safety
///
/// `header` must be as `recvmsg` left it, and what it names must be alive.
unsafe fn take_descriptors(header: &libc::msghdr, descriptors: &mut Vec<OwnedFd>) {
    // SAFETY: the control messages are walked as the kernel wrote them; descriptors in them are
    // ours, and nobody else's.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = at.as_ref() {
            if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = control.cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    let fd = data.add(index).read_unaligned();
                    descriptors.push(OwnedFd::from_raw_fd(fd));
                }
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}

/// As much as there is room for, at least a byte. Descriptors go with the first byte.
fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[RawFd]) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 8 + MAX_ATTACHED_FD_ENTRIES / 2];
    // SAFETY: a struct of integers and pointers, for which zeros are fine.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &mut iov;
    header.msg_iovlen = 1;
    if !descriptors.is_empty() {
        let bytes = size_of_val(descriptors) as u32;
        // SAFETY: the buffer has room for one control message of so many descriptors, which are
        // at most MAX_ATTACHED_FD_ENTRIES.
        unsafe {
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(bytes) as usize;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(bytes) as usize;
            let data = libc::CMSG_DATA(first).cast::<RawFd>();
            for (index, fd) in descriptors.iter().enumerate() {
                data.add(index).write_unaligned(*fd);
            }
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything that the header names lives through the call.
    retry(|| unsafe { libc::sendmsg(socket.as_raw_fd(), &header, flags) })
}

fn retry(mut call: impl FnMut() -> isize) -> Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
