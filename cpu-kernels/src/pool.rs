//! A pool of threads whose wake-up takes microseconds: workers spin for a moment before they sleep, and the caller takes part.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle worker looks for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(80);

/// The gate's bits: one that says a job is open, then the count of workers inside, then the job's number.
const OPEN: u64 = 1;
const ENTER: u64 = 2;
const COUNT_BITS: u64 = 16;
const EPOCH: u64 = 1 << (COUNT_BITS + 1);

thread_local! {
    /// True while this thread runs a task of some pool: a run inside a run stays on its thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    count: usize,
}

struct Shared {
    gate: AtomicU64,
    job: UnsafeCell<Option<Job>>,
    next: AtomicUsize,
    left: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
    stop: AtomicBool,
}

// SAFETY: `job` is written only while the gate is closed and no worker is inside, and read only by workers that entered
// through the open gate; the gate's release and acquire order the two. The task behind its pointer is `Sync`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is not used outside a run.
unsafe impl Send for Shared {}

/// A fixed set of threads that share loops.
pub struct Pool {
    shared: Arc<Shared>,
    turn: Mutex<()>,
    workers: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// Starts a pool of `threads` threads, the caller's own among them; 0 counts as 1. Where the system refuses a thread,
    /// the pool is smaller.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            bell: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let wanted = threads.clamp(1, (1 << COUNT_BITS) - 1) - 1;
        let mut workers = Vec::with_capacity(wanted);
        for i in 0..wanted {
            let shared = Arc::clone(&shared);
            match std::thread::Builder::new().name(format!("kernel-{}", i + 1)).spawn(move || work(&shared)) {
                Ok(handle) => workers.push(handle),
                Err(_) => break,
            }
        }
        Pool { shared, turn: Mutex::new(()), workers }
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `f(i)` for every `i` in `0..n`, each once, over the threads, and returns when all are done. A panic of `f` goes on
    /// in the caller once every thread has stopped. A call from inside a task, or while another thread uses the pool, runs
    /// on the calling thread.
    pub fn run(&self, n: usize, f: &(dyn Fn(usize) + Sync)) {
        let alone = n <= 1 || self.workers.is_empty() || INSIDE.get();
        let turn = if alone { None } else { self.turn.try_lock().ok() };
        let Some(turn) = turn else {
            (0..n).for_each(f);
            return;
        };
        self.share(n, f, turn);
    }

    fn share(&self, n: usize, f: &(dyn Fn(usize) + Sync), turn: MutexGuard<'_, ()>) {
        let shared = &*self.shared;
        let task: *const Task<'_> = f;
        // SAFETY: only the lifetime changes. The task is called only by workers inside the gate, and this function returns
        // after the gate is closed and the last of them has left.
        let task: *const Task<'static> = unsafe { std::mem::transmute(task) };
        // SAFETY: the gate is closed and nobody is inside: the last run ended so, and `turn` excludes another run.
        unsafe { *shared.job.get() = Some(Job { task, count: n }) };
        shared.next.store(0, Ordering::Relaxed);
        shared.left.store(0, Ordering::Relaxed);
        let epoch = shared.gate.load(Ordering::Relaxed) & !(EPOCH - 1);
        shared.gate.store(epoch.wrapping_add(EPOCH) | OPEN, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&shared.bed));
            shared.bell.notify_all();
        }
        shared.drain(f, n);
        let gate = shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let entered = ((gate & (EPOCH - 1)) / ENTER) as usize;
        let mut tries = 0u32;
        while shared.left.load(Ordering::Acquire) != entered {
            tries += 1;
            if tries > 4000 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Splits `0..len` into ranges of at least `grain` (the last may be shorter) and calls `f` with each, in parallel.
    pub fn for_ranges(&self, len: usize, grain: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
        if len == 0 {
            return;
        }
        let grain = grain.max(len.div_ceil(self.threads().saturating_mul(4))).max(1);
        self.run(len.div_ceil(grain), &|i| f(i * grain..len.min((i + 1) * grain)));
    }

    /// Splits `data` into chunks of `chunk_len` (the last may be shorter) and calls `f(index, chunk)` with each, in parallel.
    pub fn for_chunks_mut<T: Send>(&self, data: &mut [T], chunk_len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        let len = data.len();
        let chunk_len = chunk_len.max(1);
        let base = SendPtr(data.as_mut_ptr());
        self.run(len.div_ceil(chunk_len), &|i| {
            let start = i * chunk_len;
            let end = len.min(start + chunk_len);
            // SAFETY: each index comes once, and the ranges of different indexes are disjoint parts of `data`, which stays
            // borrowed for the whole run.
            f(i, unsafe { std::slice::from_raw_parts_mut(base.get().add(start), end - start) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.bed));
        self.shared.bell.notify_all();
        for worker in self.workers.drain(..) {
            // A worker cannot panic outside a task, and a task's panic was caught.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes tasks until none is left.
    fn drain(&self, f: &(dyn Fn(usize) + Sync), count: usize) {
        INSIDE.set(true);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(i))) {
                self.next.store(count, Ordering::Relaxed);
                lock(&self.panic).get_or_insert(payload);
            }
        }
        INSIDE.set(false);
    }

    /// Whether the gate shows a job other than number `seen`.
    fn news(&self, seen: u64) -> bool {
        let gate = self.gate.load(Ordering::SeqCst);
        gate & OPEN != 0 && gate / EPOCH != seen
    }

    fn sleep(&self, seen: u64) {
        let mut guard = lock(&self.bed);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while !self.news(seen) && !self.stop.load(Ordering::SeqCst) {
            guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn work(shared: &Shared) {
    let mut seen = 0;
    let mut idle = Instant::now();
    let mut looks = 0u32;
    while !shared.stop.load(Ordering::Relaxed) {
        let gate = shared.gate.load(Ordering::Acquire);
        if gate & OPEN != 0 && gate / EPOCH != seen {
            if shared.gate.compare_exchange(gate, gate + ENTER, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            // SAFETY: this worker is inside the gate, so the job was written before it opened, and the caller of `run` keeps the
            // task alive until this worker has left.
            let job = unsafe { *shared.job.get() };
            if let Some(job) = job {
                // SAFETY: as above.
                shared.drain(unsafe { &*job.task }, job.count);
            }
            seen = gate / EPOCH;
            shared.left.fetch_add(1, Ordering::Release);
            idle = Instant::now();
            looks = 0;
            continue;
        }
        std::hint::spin_loop();
        looks += 1;
        if looks % 64 == 0 && idle.elapsed() > SPIN {
            shared.sleep(seen);
            idle = Instant::now();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pointer that the tasks of one run share; each writes its own part.
pub(crate) struct SendPtr<T>(pub(crate) *mut T);

impl<T> SendPtr<T> {
    /// The pointer. (A method, so that closures capture the whole wrapper.)
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: a user of `SendPtr` writes disjoint parts from different threads; every use says why they are disjoint.
unsafe impl<T: Send> Sync for SendPtr<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SendPtr<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_runs_once() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for n in [0, 1, 2, 3, 17, 1000] {
                for _ in 0..50 {
                    let hits: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(n, &|i| {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1), "{threads} threads, {n} tasks");
                }
            }
        }
    }

    #[test]
    fn wakes_after_sleep() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            let sum = AtomicUsize::new(0);
            pool.run(10, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 45);
        }
    }

    #[test]
    fn work_is_shared() {
        let pool = Pool::new(2);
        let ids = Mutex::new(std::collections::HashSet::new());
        pool.run(8, &|_| {
            std::thread::sleep(Duration::from_millis(5));
            ids.lock().unwrap().insert(std::thread::current().id());
        });
        assert_eq!(ids.into_inner().unwrap().len(), 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            let caught = catch_unwind(AssertUnwindSafe(|| pool.run(100, &|i| assert!(i != 37, "task 37"))));
            let payload = caught.expect_err("the panic was lost");
            assert_eq!(payload.downcast_ref::<&str>().copied(), Some("task 37"));
            let sum = AtomicUsize::new(0);
            pool.run(100, &|i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }

    #[test]
    fn nested_and_concurrent_runs_finish() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(4, &|_| {
                            pool.run(5, &|j| {
                                sum.fetch_add(j, Ordering::Relaxed);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 50 * 4 * 10);
    }

    #[test]
    fn ranges_and_chunks_cover_everything() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads);
            for len in [0, 1, 5, 64, 1001] {
                let mut data = vec![0usize; len];
                pool.for_chunks_mut(&mut data, 7, |i, chunk| {
                    for (j, x) in chunk.iter_mut().enumerate() {
                        *x += i * 7 + j + 1;
                    }
                });
                assert!(data.iter().enumerate().all(|(i, &x)| x == i + 1));
                let seen = Mutex::new(Vec::new());
                pool.for_ranges(len, 10, &|r| seen.lock().unwrap().push(r));
                let mut seen = seen.into_inner().unwrap();
                seen.sort_by_key(|r| r.start);
                assert_eq!(seen.iter().flat_map(|r| r.clone()).collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
                assert!(seen.iter().rev().skip(1).all(|r| r.len() >= 10));
            }
        }
    }
}
