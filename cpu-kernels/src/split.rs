//! A slice that several threads write in disjoint parts.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice shared between threads; each part is bounds-checked, that parts do not overlap is the caller's promise.
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` of which each thread gets disjoint parts (the promise of `slice`'s callers).
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        SharedMut { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// The part `range`.
    ///
    /// # Safety
    /// No two parts alive at the same time may overlap.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of a slice of {}", self.len);
        // SAFETY: within the slice (asserted), which lives for 'a; disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}
