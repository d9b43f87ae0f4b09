//! Feature `async`.

use std::future::Future;
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use blkalign::{Buffer, Flags, Queue};
use tokio::io::unix::AsyncFd;

use crate::scene::{errno, pattern, Ram, Scene};

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The simplest executor there is: polls the queue whenever the future is not ready.
fn block_on<F: Future>(queue: &Queue, future: F) -> F::Output {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    loop {
        let before = woken.0.load(Ordering::SeqCst);
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return result;
        }
        while woken.0.load(Ordering::SeqCst) == before {
            queue.poll(None, |_, _| unreachable!("all are futures")).unwrap();
        }
    }
}

#[test]
fn a_future_gives_the_buffer_back_with_its_result() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    block_on(&queue, async {
        let (buffer, result) = queue.read_async(Buffer::from(vec![0; 100]), 1000).await;
        assert_eq!(result, Ok(()));
        assert_eq!(buffer[..], pattern(8192)[1000..1100]);
        let (buffer, result) = queue.write_async(buffer, 0, Flags::FUA).await;
        assert_eq!(result, Ok(()));
        queue.write_zeroes_async(50, 10, Flags::empty()).await.unwrap();
        queue.discard_async(4096, 0).await.unwrap();
        queue.flush_async().await.unwrap();
        let (buffer, result) = queue.read_async(buffer, 8191).await;
        assert_eq!((buffer.len(), errno(result)), (100, libc::EIO), "refused at once");
        let (buffer, result) = queue.read_async(buffer, u64::MAX).await;
        assert_eq!((buffer.len(), errno(result)), (100, libc::EINVAL));
        assert_eq!(errno(queue.flush_async().await), 0);
    });
    let mut expected = pattern(8192);
    expected.copy_within(1000..1100, 0);
    expected[50..60].fill(0);
    assert_eq!(scene.contents(), expected);
}

#[test]
fn futures_and_closures_share_a_queue() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    queue.flush(5).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut future = pin!(queue.read_async(Buffer::from(vec![0; 100]), 0));
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let (mut over, mut told) = (0, 0);
    while over < 2 {
        over += queue.poll(None, |number, _| told += number).unwrap();
    }
    assert_eq!((told, woken.0.load(Ordering::SeqCst)), (5, 1));
    assert!(future.poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_future_that_is_dropped_gives_up_its_result_alone() {
    let (disk, inside) = Ram::disk(1 << 16);
    let queue = disk.queue().unwrap();
    inside.close_gate();
    let poll = |future: Pin<&mut dyn Future<Output = _>>| {
        assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    };
    {
        let mut future = pin!(queue.write_async(Buffer::from(vec![9; 512]), 0, Flags::empty()));
        poll(future.as_mut());
    }
    drop(queue.write_async(Buffer::from(vec![9; 512]), 512, Flags::empty()));
    inside.open_gate();
    assert_eq!(queue.poll(None, |_, _| unreachable!()).unwrap(), 1);
    // And one that is dropped after its result has come.
    {
        let mut future = pin!(queue.write_async(Buffer::from(vec![9; 512]), 1024, Flags::empty()));
        poll(future.as_mut());
        assert_eq!(queue.poll(None, |_, _| unreachable!()).unwrap(), 1);
    }
    let bytes = inside.bytes.lock().unwrap();
    assert!(bytes[..512] == [9; 512] && bytes[1024..1536] == [9; 512]);
    assert_eq!(bytes[512..1024], pattern(1024)[512..], "was never polled");
}

#[test]
fn a_waker_that_panics_loses_no_result() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new(()));
        }
    }
    let scene = Scene::new(8192);
    let queue = scene.queue();
    let waker = Waker::from(Arc::new(Panics));
    let mut future = pin!(queue.flush_async());
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    queue.flush(5).unwrap();
    let mut told = Vec::new();
    let mut panics = 0;
    while told.is_empty() || panics == 0 {
        let poll = || queue.poll(None, |number, _| told.push(number)).unwrap();
        panics += i32::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).is_err());
    }
    assert_eq!((told, panics), (vec![5], 1));
    assert!(future.poll(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_future_that_is_leaked_leaves_the_queue_usable() {
    let scene = Scene::new(8192);
    let queue = scene.queue();
    let mut future = Box::pin(queue.read_async(Buffer::from(vec![0; 512]), 0));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    std::mem::forget(future);
    block_on(&queue, async { queue.flush_async().await.unwrap() });
}

/// Tells the futures of `queue`, as long as it is polled itself.
async fn drive(queue: Arc<Queue>) {
    // SAFETY: a queue's descriptor is one and the same as long as the queue.
    let descriptor = unsafe { AsyncFd::register(queue.clone()) }.unwrap();
    loop {
        descriptor.readable().await.unwrap().clear_ready();
        queue.poll(Some(Duration::ZERO), |_, _| ()).unwrap();
    }
}

#[test]
fn tokio_waits_for_many_at_once() {
    let scene = Scene::new(1 << 16);
    let queue = Arc::new(scene.queue());
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = tokio::spawn(drive(queue.clone()));
        let writers = (0..64u64).map(|number| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for round in 0..10 {
                    let buffer = Buffer::from(vec![round; 100]);
                    queue.write_async(buffer, number * 100, Flags::empty()).await.1.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        driver.abort();
    });
    drop(runtime);
    let contents = scene.contents();
    assert!(contents[..6400] == [9; 6400] && contents[6400..] == pattern(1 << 16)[6400..]);
}
