//! Where the bytes of constants lie when they are not on the heap.

use std::fmt::Debug;

/// A file that constants are slices of, mapped into memory. The system reads its pages when they are looked at.
pub trait Backing: Debug + Send + Sync {
    /// Gives the memory of the pages around `bytes` back to the system; who looks at them again has them read again. Does
    /// nothing if `bytes` are not this file's.
    fn release(&self, bytes: &[u8]);

    /// As [`Backing::release`], for the whole file.
    fn release_all(&self);
}
