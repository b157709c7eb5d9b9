//! What can be wrong with a kernel's operands.

use std::fmt;

/// Why a kernel refused its operands. Kernels know no graph: the caller adds the node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// An integer was divided by zero.
    DivisionByZero,
    /// An index lies outside its dimension.
    IndexOutOfRange {
        /// The index as given (negative ones count from the end).
        index: i64,
        /// The size of the dimension.
        size: usize,
    },
    /// An axis lies outside the rank.
    AxisOutOfRange {
        /// The axis as given.
        axis: i64,
        /// The rank.
        rank: usize,
    },
    /// The operands' shapes, or a shape and the length of its data, do not fit together.
    Shape(String),
    /// A setting (a step, a count, a block size) has no meaning for this kernel.
    Setting(String),
    /// The size of the result overflows the address space.
    TooLarge,
    /// The operation does not exist for the element type.
    Unsupported {
        /// The operation.
        op: String,
        /// The element type.
        ty: &'static str,
    },
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::DivisionByZero => f.write_str("integer division by zero"),
            KernelError::IndexOutOfRange { index, size } => write!(f, "index {index} is outside a dimension of {size}"),
            KernelError::AxisOutOfRange { axis, rank } => write!(f, "axis {axis} is outside rank {rank}"),
            KernelError::Shape(why) => write!(f, "shapes do not fit: {why}"),
            KernelError::Setting(why) => f.write_str(why),
            KernelError::TooLarge => f.write_str("the result is too large for the address space"),
            KernelError::Unsupported { op, ty } => write!(f, "{op} is not defined for {ty}"),
        }
    }
}

impl std::error::Error for KernelError {}

impl KernelError {
    pub(crate) fn shape(why: impl Into<String>) -> Self {
        KernelError::Shape(why.into())
    }

    pub(crate) fn setting(why: impl Into<String>) -> Self {
        KernelError::Setting(why.into())
    }
}

/// Fails unless `have == want`, naming what was measured.
pub(crate) fn expect_len(what: &str, have: usize, want: usize) -> Result<(), KernelError> {
    if have == want { Ok(()) } else { Err(KernelError::Shape(format!("{what} has {have} elements, expected {want}"))) }
}
