use super::*;

#[test]
fn ioctl_numbers_are_those_of_the_kernel_headers() {
    if cfg!(target_arch = "x86_64") || cfg!(target_arch = "aarch64") {
        assert_eq!(XFS_IOC_DIOINFO, 0x800c_581e);
        assert_eq!(BLKGETSIZE64, 0x8008_1272);
        assert_eq!(BLKBSZGET, 0x8008_1270);
        assert_eq!(BLKDISCARD, 0x1277);
        assert_eq!(BLKROGET, 0x125e);
    }
}

#[test]
fn every_descriptor_is_close_on_exec() {
    let calls = super::super::calls();
    let opened =
        Descriptor::open(calls, &CString::new("/dev/null").unwrap(), libc::O_RDONLY).unwrap();
    let reopened = opened.reopen(libc::O_RDONLY).unwrap();
    let duplicated = Descriptor::duplicate_raw(calls, opened.raw()).unwrap();
    for descriptor in [&opened, &reopened, &duplicated] {
        let flags = calls.fcntl(descriptor.raw(), libc::F_GETFD, 0).unwrap();
        assert_ne!(flags & libc::FD_CLOEXEC, 0);
    }
}
