//! Futures under tokio: many zero writes at once, then a flush. Feature `async`.
//!
//!     cargo run --features async --example tokio_zero FILE
//!
//! Overwrites the first 64 KiB.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use blkalign::{Buffer, Error, Flags, OpenOptions, Queue};
use tokio::io::unix::AsyncFd;

/// Wakes the futures of the queue: one such task for each queue.
async fn drive(queue: Arc<Queue>) -> io::Result<()> {
    // SAFETY: a queue's descriptor is one and the same as long as the queue.
    let descriptor = unsafe { AsyncFd::register(queue.clone()) }?;
    loop {
        // Cleared before the look: what comes meanwhile makes it ready again.
        descriptor.readable().await?.clear_ready();
        queue.poll(Some(Duration::ZERO), |_, _| ())?;
    }
}

async fn zero(queue: Arc<Queue>) -> Result<(), Error> {
    let mut writers = Vec::new();
    for piece in 0..128 {
        let queue = queue.clone();
        writers.push(tokio::spawn(async move {
            let buffer = Buffer::from(vec![0; 512]);
            queue.write_async(buffer, piece * 512, Flags::empty()).await.1
        }));
    }
    for writer in writers {
        writer.await.expect("does not panic")?;
    }
    queue.flush_async().await
}

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: tokio_zero FILE"))?;
    let disk = OpenOptions::new().write(true).direct(true).buffered_ok(true).open(path)?;
    let queue = Arc::new(disk.queue()?);
    tokio::runtime::Builder::new_multi_thread().enable_io().build()?.block_on(async {
        let driver = tokio::spawn(drive(queue.clone()));
        let result = zero(queue.clone()).await;
        driver.abort();
        Ok(result?)
    })
}
