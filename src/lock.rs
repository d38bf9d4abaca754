//! A lock of which nobody is to be locked out.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks what is whole also where a panic came under the lock: which would be ours, since nobody else's code runs there.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
