//! Products on quantized weights.

use graph::Node;

use crate::op::{Fact, Operator};
use crate::precision::Precision;

/// The operator that runs a product on quantized weights, if there is a kernel for it.
pub(crate) fn of(_node: &Node, _precision: Precision, _inputs: &[Option<Fact>]) -> Option<Box<dyn Operator>> {
    None
}
