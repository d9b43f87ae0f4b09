//! Images of Ceph as disks. integrations/librbd/daemon.t starts a cluster and names an image in
//! BLKALIGN_TEST_RBD; without that there is nothing to test.
#![cfg(feature = "rbd")]

mod frontend;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use frontend::daemon::{program, Daemon};
use frontend::guest::*;
use frontend::memory::Memory;

fn connect(daemon: &Daemon, queues: u64) -> Guest {
    let memory = Arc::new(Memory::new(2, 2 << 20));
    Guest::connect(&daemon.socket, memory, &Wishes { queues, ..Wishes::default() })
}

#[test]
fn an_image_of_ceph_is_a_disk_that_nobody_else_writes_to() {
    let Ok(image) = std::env::var("BLKALIGN_TEST_RBD") else {
        return eprintln!("skipped: BLKALIGN_TEST_RBD names no image");
    };
    let image = Path::new(&image);
    let daemon = Daemon::start(image, &["--queues", "2"]);
    let mut guest = connect(&daemon, 2);
    for sector in 0..64 {
        let queue = sector as usize % 2;
        assert_eq!(guest.write(queue, sector, &[sector as u8 + 1; 512]), Some(OK), "{sector}");
    }
    for sector in 0..64 {
        assert_eq!(guest.read(0, sector, 512).unwrap(), [sector as u8 + 1; 512], "{sector}");
    }
    assert_eq!(guest.read(1, 64, 512).unwrap(), [0; 512]);
    drop(guest);
    drop(daemon);
    // What was written is there for the next one, which gets the lock of the first.
    let daemon = Daemon::start(image, &["--read-only"]);
    assert_eq!(connect(&daemon, 1).read(0, 63, 512).unwrap(), [64; 512]);
}

#[test]
fn an_image_that_is_not_there_is_told() {
    let Ok(image) = std::env::var("BLKALIGN_TEST_RBD") else { return };
    let mut command = program();
    command.arg("--file").arg(format!("{image}-that-is-not")).args(["--fd", "0"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("cannot open the image"), "{words}");
}
