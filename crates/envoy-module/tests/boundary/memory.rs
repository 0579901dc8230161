//! Memory, objects and events of the host. A use of an object that is gone, or on another thread, stops the process.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, ThreadId};

pub type Ptr = *mut c_void;
pub type ConstPtr = *const c_void;

/// Bytes of either side.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    pub ptr: *const u8,
    pub length: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HeaderLine {
    pub name: *const u8,
    pub name_length: usize,
    pub value: *const u8,
    pub value_length: usize,
}

/// Memory that is overwritten before it is freed.
pub struct Bytes(pub Box<[u8]>);

impl Bytes {
    pub fn buffer(&self) -> Buffer {
        Buffer {
            ptr: self.0.as_ptr(),
            length: self.0.len(),
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.0.fill(0xdd);
        std::hint::black_box(&mut self.0);
    }
}

/// What a module's buffer contains.
pub fn copied(buffer: Buffer) -> Vec<u8> {
    if buffer.ptr.is_null() {
        return Vec::new();
    }
    // SAFETY: the module's buffers are valid during the call.
    unsafe { std::slice::from_raw_parts(buffer.ptr, buffer.length) }.to_vec()
}

pub fn text(buffer: Buffer) -> String {
    String::from_utf8(copied(buffer)).expect("the module's texts are UTF-8")
}

/// The streams and configurations that exist, with their numbers and threads.
pub static LIVE: Mutex<BTreeMap<usize, (u64, ThreadId)>> = Mutex::new(BTreeMap::new());

/// How many there were. Another one may be at the place of one that is gone.
pub static BORN: AtomicU64 = AtomicU64::new(0);

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics under a lock")
}

/// The number of what exists there.
pub fn number_of(object: Ptr) -> Option<u64> {
    let live = locked(&LIVE);
    live.get(&object.addr()).map(|(number, _)| *number)
}

/// A stream or a configuration that the module names.
///
/// # Safety
///
/// It must be of this type. No other reference to it may be in use.
pub unsafe fn live<'o, T>(object: Ptr) -> &'o mut T {
    let found = locked(&LIVE).get(&object.addr()).copied();
    let thread = found.map(|(_, thread)| thread);
    assert_eq!(
        thread,
        Some(thread::current().id()),
        "gone, or of another thread"
    );
    // SAFETY: it exists, and only this thread frees it.
    unsafe { &mut *object.cast::<T>() }
}

pub fn born<T>(object: T) -> Ptr {
    let object: Ptr = Box::into_raw(Box::new(object)).cast();
    let number = BORN.fetch_add(1, Ordering::SeqCst);
    locked(&LIVE).insert(object.addr(), (number, thread::current().id()));
    object
}

/// Frees a stream or a configuration.
///
/// # Safety
///
/// It must be of this type.
pub unsafe fn buried<T>(object: Ptr) {
    assert!(
        locked(&LIVE).remove(&object.addr()).is_some(),
        "buried twice"
    );
    // SAFETY: `born` made it, and it was not yet freed.
    drop(unsafe { Box::from_raw(object.cast::<T>()) });
}

/// An event for a stream or a configuration, and the number of that.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub object: Object,
    pub event: u64,
}

/// A place, and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    pub place: Place,
    number: u64,
}

/// An address that other threads may know, but not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub Ptr);

// SAFETY: only the thread of the object uses it.
unsafe impl Send for Place {}

impl Object {
    pub fn at(place: Ptr) -> Self {
        let number = number_of(place).expect("it exists");
        Self {
            place: Place(place),
            number,
        }
    }

    pub fn is_live(self) -> bool {
        number_of(self.place.0) == Some(self.number)
    }
}

/// The events of a thread.
#[derive(Default)]
pub struct Inbox {
    pub events: Mutex<VecDeque<Event>>,
    pub arrived: Condvar,
    pub is_closed: AtomicBool,
}

/// What the module commits events by.
pub struct Scheduler {
    inbox: Arc<Inbox>,
    object: Object,
    /// The number of schedulers of the object.
    count: Arc<AtomicUsize>,
}

impl Scheduler {
    pub fn create(inbox: &Arc<Inbox>, object: Ptr, count: &Arc<AtomicUsize>) -> Ptr {
        count.fetch_add(1, Ordering::SeqCst);
        let scheduler = Self {
            inbox: Arc::clone(inbox),
            object: Object::at(object),
            count: Arc::clone(count),
        };
        Box::into_raw(Box::new(scheduler)).cast()
    }

    /// # Safety
    ///
    /// The scheduler must exist.
    pub unsafe fn commit(scheduler: Ptr, event: u64) {
        // SAFETY: the module uses it from any thread until it deletes it.
        let scheduler = unsafe { &*scheduler.cast::<Self>() };
        assert!(
            !scheduler.inbox.is_closed.load(Ordering::SeqCst),
            "the thread is gone"
        );
        let object = scheduler.object;
        locked(&scheduler.inbox.events).push_back(Event { object, event });
        scheduler.inbox.arrived.notify_all();
    }

    /// # Safety
    ///
    /// The scheduler must exist.
    pub unsafe fn delete(scheduler: Ptr) {
        // SAFETY: `create` made it, and the module deletes it once.
        let scheduler = unsafe { Box::from_raw(scheduler.cast::<Self>()) };
        scheduler.count.fetch_sub(1, Ordering::SeqCst);
    }
}
