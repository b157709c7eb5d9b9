//! Tensor types: an element type and a shape whose dimensions may be symbolic.

use std::fmt;
use std::sync::Arc;

use crate::DType;

/// One dimension of a shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A number.
    Known(usize),
    /// A name that the user binds at run time (`batch`, `seq`).
    Symbol(Arc<str>),
    /// Neither a number nor a name in the file.
    Unknown,
}

impl Dim {
    /// The number, where there is one.
    pub fn known(&self) -> Option<usize> {
        match self {
            Dim::Known(n) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Known(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

/// An element type and, if the rank is known, a shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The dimensions; `None` where even the rank is unknown.
    pub shape: Option<Vec<Dim>>,
}

impl TensorType {
    /// A type whose dimensions are all numbers.
    pub fn known(dtype: DType, shape: &[usize]) -> Self {
        TensorType { dtype, shape: Some(shape.iter().map(|&n| Dim::Known(n)).collect()) }
    }

    /// The shape as numbers, if every dimension is one.
    pub fn known_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(Dim::known).collect()
    }
}

impl fmt::Display for TensorType {
    /// `f32[batch,128,384]`; an unknown rank is `f32[...]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        match &self.shape {
            None => f.write_str("...")?,
            Some(dims) => {
                for (i, d) in dims.iter().enumerate() {
                    write!(f, "{}{d}", if i == 0 { "" } else { "," })?;
                }
            }
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_print_as_the_window_shows_them() {
        let t = TensorType {
            dtype: DType::F32,
            shape: Some(vec![Dim::Symbol("batch".into()), Dim::Known(3), Dim::Unknown]),
        };
        assert_eq!(t.to_string(), "f32[batch,3,?]");
        assert_eq!(t.known_shape(), None);
        assert_eq!(TensorType::known(DType::I64, &[2]).known_shape(), Some(vec![2]));
        assert_eq!(TensorType { dtype: DType::Bool, shape: None }.to_string(), "bool[...]");
    }
}
