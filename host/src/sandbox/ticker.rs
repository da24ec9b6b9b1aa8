//! What moves an engine's epoch, so that a guest in its own code gives way.
//!
//! A thread of its own: timers of tokio would wait behind the guests that they are to interrupt. It ticks only while guest code
//! runs; a runner whose attempts all wait for the host sleeps as deep as one without attempts.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::Engine;

use super::{engine::TICK, meter::Meter};

/// How long a tick is when guests have all threads, and whatever comes waits for one of them to give way. A guest that gives way
/// costs some of its own time, so that it is not always as short.
const CROWDED_TICK: Duration = Duration::from_micros(500);
/// So many ticks without guest code, and the thread sleeps. Waking it costs more than some idle ticks.
const IDLE_TICKS: u32 = 20;

/// Starts ticks when guests run.
#[derive(Clone)]
pub struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Guests that are in their own code or in host code now.
    running: AtomicU32,
    /// Counts those that started, so that short ones are seen too.
    started: AtomicU32,
    asleep: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It lives as long as the process, in which guests run on `threads` threads.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn start(engine: Engine, threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let handle =
            thread::Builder::new().name("ticker".to_owned()).spawn(move || tick(&engine, threads, &of_thread))?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Runs `guest`, ticking while it is polled, and tells `meter` what that takes.
    pub fn watch<F: Future>(&self, guest: F, meter: Option<Arc<Meter>>) -> Watched<F> {
        Watched { ticker: self.clone(), guest: Box::pin(guest), meter }
    }

    fn begin(&self) {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        self.shared.started.fetch_add(1, Ordering::Relaxed);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    fn end(&self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &Engine, threads: usize, shared: &Shared) {
    let mut idle = 0;
    let mut seen = 0;
    loop {
        let is_crowded = shared.running.load(Ordering::SeqCst) as usize >= threads;
        thread::sleep(if is_crowded { CROWDED_TICK } else { TICK });
        engine.increment_epoch();
        let started = shared.started.load(Ordering::Relaxed);
        if started != seen || shared.running.load(Ordering::SeqCst) > 0 {
            seen = started;
            idle = 0;
            continue;
        }
        idle += 1;
        if idle >= IDLE_TICKS {
            idle = 0;
            shared.asleep.store(true, Ordering::SeqCst);
            // Either this sees the guest that began, or the guest sees that this is asleep.
            while shared.running.load(Ordering::SeqCst) == 0 && shared.started.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
        }
    }
}

/// A guest's future under a [`Ticker`].
pub struct Watched<F> {
    ticker: Ticker,
    guest: Pin<Box<F>>,
    meter: Option<Arc<Meter>>,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        /// Also ends what panics.
        struct Running<'a>(&'a Ticker);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.end();
            }
        }

        let this = &mut *self;
        this.ticker.begin();
        let _running = Running(&this.ticker);
        let guest = this.guest.as_mut();
        match &this.meter {
            Some(meter) => meter.measure(|| guest.poll(cx)),
            None => guest.poll(cx),
        }
    }
}
