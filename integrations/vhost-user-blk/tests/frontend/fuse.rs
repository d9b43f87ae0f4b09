//! A file whose file system stops answering: its server (FUSE) is a thread of ours.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const INIT: u32 = 26;
const BYTES: u64 = 1 << 20;

pub struct FuseFile {
    /// Open for reading and writing.
    pub file: Option<File>,
    path: PathBuf,
    server: Option<JoinHandle<()>>,
}

impl FuseFile {
    /// A file at `path` that answers nothing any more. None: this system lets us make none.
    pub fn new(path: &Path) -> Option<FuseFile> {
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        fs::write(path, "").unwrap();
        let options =
            format!("fd={},rootmode=100000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let target = [path.as_os_str().as_bytes(), b"\0"].concat();
        // SAFETY: strings that live through the call.
        let result = unsafe {
            libc::mount(
                c"test".as_ptr(),
                target.as_ptr().cast(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            )
        };
        if result < 0 {
            return None;
        }
        let answers = Arc::new(AtomicBool::new(true));
        let server = {
            let answers = answers.clone();
            std::thread::spawn(move || serve(device, &answers))
        };
        let mut file = FuseFile { file: None, path: path.to_owned(), server: Some(server) };
        file.file = Some(File::options().read(true).write(true).open(path).ok()?);
        answers.store(false, Ordering::SeqCst);
        Some(file)
    }

    /// Ends everything that waits for the file.
    pub fn abort(&self) {
        let target = [self.path.as_os_str().as_bytes(), b"\0"].concat();
        // SAFETY: a string that lives through the call.
        unsafe { libc::umount2(target.as_ptr().cast(), libc::MNT_FORCE | libc::MNT_DETACH) };
    }
}

impl Drop for FuseFile {
    fn drop(&mut self) {
        self.abort();
        self.file = None;
        let _ = self.server.take().map(JoinHandle::join);
    }
}

fn serve(mut device: File, answers: &AtomicBool) {
    let mut request = vec![0; 256 << 10];
    while device.read(&mut request).is_ok() {
        let code = u32::from_ne_bytes(request[4..8].try_into().unwrap());
        let body = match code {
            INIT => {
                let mut body = vec![0; 64];
                body[..4].copy_from_slice(&7u32.to_ne_bytes());
                body[4..8].copy_from_slice(&31u32.to_ne_bytes());
                body[20..24].copy_from_slice(&(64u32 << 10).to_ne_bytes());
                body
            }
            OPEN => vec![0; 16],
            GETATTR => {
                let mut body = vec![0; 104];
                body[16..24].copy_from_slice(&1u64.to_ne_bytes());
                body[24..32].copy_from_slice(&BYTES.to_ne_bytes());
                body[76..80].copy_from_slice(&0o100666u32.to_ne_bytes());
                body[80..84].copy_from_slice(&1u32.to_ne_bytes());
                body
            }
            _ => continue,
        };
        if !answers.load(Ordering::SeqCst) {
            continue;
        }
        let mut answer = Vec::new();
        answer.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
        answer.extend_from_slice(&0i32.to_ne_bytes());
        answer.extend_from_slice(&request[8..16]);
        answer.extend_from_slice(&body);
        let _ = device.write(&answer);
    }
}
