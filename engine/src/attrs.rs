//! Reading a node's attributes: each must be read, so that none is silently ignored.

use std::cell::RefCell;
use std::collections::BTreeSet;

use graph::{Attr, Graph, Node, Tensor};

use crate::op::OpError;

/// The attributes of one node, with a record of which were read.
pub struct Attrs<'a> {
    node: &'a Node,
    opset: i64,
    read: RefCell<BTreeSet<&'a str>>,
}

macro_rules! getter {
    ($(#[$m:meta])* $name:ident, $variant:ident($v:ident) => $value:expr, $t:ty, $kind:literal) => {
        $(#[$m])*
        pub fn $name(&self, name: &str) -> Result<Option<$t>, OpError> {
            match self.get(name) {
                None => Ok(None),
                Some(Attr::$variant($v)) => Ok(Some($value)),
                Some(other) => Err(OpError::invalid(format!("attribute {name} must be {}, it is {other}", $kind))),
            }
        }
    };
}

impl<'a> Attrs<'a> {
    /// The attributes of `node`, to be read as operator-set version `opset`.
    pub fn new(node: &'a Node, opset: i64) -> Self {
        Attrs { node, opset, read: RefCell::default() }
    }

    /// The operator-set version in force.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// The node itself.
    pub(crate) fn node(&self) -> &'a Node {
        self.node
    }

    /// The operator's name.
    pub fn op_type(&self) -> &'a str {
        &self.node.op_type
    }

    /// Listed inputs, the left-out ones included.
    pub fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// True if input `i` is there.
    pub fn has_input(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(Option::is_some)
    }

    /// Listed outputs, the left-out ones included.
    pub fn output_count(&self) -> usize {
        self.node.outputs.len()
    }

    /// True if output `i` is wanted.
    pub fn has_output(&self, i: usize) -> bool {
        self.node.outputs.get(i).is_some_and(Option::is_some)
    }

    /// The attribute, if it is there; marks it as read.
    pub fn get(&self, name: &str) -> Option<&'a Attr> {
        let (key, value) = self.node.attrs.get_key_value(name)?;
        self.read.borrow_mut().insert(key);
        Some(value)
    }

    getter!(/** An integer. */ int, Int(v) => *v, i64, "an integer");
    getter!(/** A float. */ float, Float(v) => *v, f32, "a float");
    getter!(/** Integers. */ ints, Ints(v) => v, &'a [i64], "integers");
    getter!(/** Floats. */ floats, Floats(v) => v, &'a [f32], "floats");
    getter!(/** A tensor. */ tensor, Tensor(v) => v, &'a Tensor, "a tensor");
    getter!(/** A graph. */ graph, Graph(v) => v, &'a Graph, "a graph");

    /// A string, which must be UTF-8.
    pub fn string(&self, name: &str) -> Result<Option<&'a str>, OpError> {
        match self.get(name) {
            None => Ok(None),
            Some(Attr::String(b)) => {
                std::str::from_utf8(b).map(Some).map_err(|_| OpError::invalid(format!("attribute {name} is not UTF-8")))
            }
            Some(other) => Err(OpError::invalid(format!("attribute {name} must be a string, it is {other}"))),
        }
    }

    /// An integer or its default.
    pub fn int_or(&self, name: &str, default: i64) -> Result<i64, OpError> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// A float or its default.
    pub fn float_or(&self, name: &str, default: f32) -> Result<f32, OpError> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// A 0/1 integer as a bool, or its default.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, OpError> {
        Ok(self.int_or(name, default as i64)? != 0)
    }

    /// A string or its default.
    pub fn string_or(&self, name: &str, default: &'a str) -> Result<&'a str, OpError> {
        Ok(self.string(name)?.unwrap_or(default))
    }

    /// An integer that must be there.
    pub fn need_int(&self, name: &str) -> Result<i64, OpError> {
        self.int(name)?.ok_or_else(|| OpError::invalid(format!("attribute {name} is missing")))
    }

    /// Marks an attribute as read whose value changes nothing here.
    pub fn ignore(&self, name: &str) {
        self.get(name);
    }

    /// Fails if an attribute was not read.
    pub fn finish(&self) -> Result<(), OpError> {
        let read = self.read.borrow();
        let unread: Vec<&str> = self.node.attrs.keys().map(String::as_str).filter(|k| !read.contains(k)).collect();
        if unread.is_empty() { Ok(()) } else { Err(OpError::unsupported(format!("attribute {}", unread.join(", ")))) }
    }
}
