//! LabelEncoder: a table from keys to values.

use std::collections::HashMap;

use bytes::Bytes;
use graph::{Attr, DType, Tensor};

use crate::attrs::Attrs;
use crate::op::{Fact, Inputs, NEWEST, OpClass, OpDef, OpError, Operator, RunCx};

/// LabelEncoder.
pub(crate) const OPS: &[OpDef] = &[
    OpDef { domain: "ai.onnx.ml", name: "LabelEncoder", opsets: (1, 1), read: read_classes },
    OpDef { domain: "ai.onnx.ml", name: "LabelEncoder", opsets: (2, NEWEST), read },
];

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    /// The bits of an f64; one pattern for every NaN, and no negative zero.
    Float(u64),
    Text(Bytes),
}

impl Key {
    fn float(v: f64) -> Key {
        Key::Float(if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() })
    }
}

/// The elements as keys.
fn keys(t: &Tensor) -> Result<Vec<Key>, OpError> {
    if !t.is_tensor() {
        return Err(OpError::invalid("its input must be a tensor"));
    }
    if t.dtype() == DType::String {
        return Ok(t.strings().iter().cloned().map(Key::Text).collect());
    }
    if let Some(ints) = t.to_i64() {
        return Ok(ints.into_iter().map(Key::Int).collect());
    }
    match t.dtype() {
        DType::F32 => Ok(t
            .elements::<f32>()
            .into_iter()
            .flat_map(|v| v.iter().map(|&v| Key::float(v.into())).collect::<Vec<_>>())
            .collect()),
        DType::F64 => Ok(t
            .elements::<f64>()
            .into_iter()
            .flat_map(|v| v.iter().map(|&v| Key::float(v)).collect::<Vec<_>>())
            .collect()),
        other => Err(OpError::unsupported(format!("keys of {other}"))),
    }
}

/// From keys to positions in `values`.
#[derive(Debug)]
struct Table {
    key_type: DType,
    index: HashMap<Key, usize>,
    values: Tensor,
    default: Tensor,
}

#[derive(Debug)]
struct LabelEncoder {
    /// One, or for version 1 one for each direction.
    tables: Vec<Table>,
}

fn table(from: &Tensor, values: Tensor, default: Tensor) -> Result<Table, OpError> {
    if from.len() != values.len() {
        return Err(OpError::invalid(format!("{} keys and {} values", from.len(), values.len())));
    }
    if default.dtype() != values.dtype() || default.len() != 1 {
        return Err(OpError::invalid(format!("a default of {} for values of {}", default.dtype(), values.dtype())));
    }
    // Of a key that is there twice the last counts.
    let index = keys(from)?.into_iter().enumerate().map(|(i, k)| (k, i)).collect();
    Ok(Table { key_type: from.dtype(), index, values, default })
}

fn texts(list: Vec<Bytes>) -> Result<Tensor, OpError> {
    Tensor::from_strings(vec![list.len()], list).map_err(|e| OpError::invalid(e.to_string()))
}

/// The list in `keys_*` or `values_*`.
fn list(a: &Attrs<'_>, which: &str) -> Result<Tensor, OpError> {
    let mut found = Vec::new();
    for suffix in ["strings", "int64s", "floats", "tensor"] {
        match a.get(&format!("{which}_{suffix}")) {
            None => {}
            Some(Attr::Strings(v)) => found.push(texts(v.clone())?),
            Some(Attr::Ints(v)) => found.push(Tensor::from_vec(&[v.len()], v.clone())),
            Some(Attr::Floats(v)) => found.push(Tensor::from_vec(&[v.len()], v.clone())),
            Some(Attr::Tensor(t)) => found.push(t.clone()),
            Some(other) => return Err(OpError::invalid(format!("{which}_{suffix} is {other}"))),
        }
    }
    match (found.pop(), found.len()) {
        (Some(t), 0) => Ok(t),
        (_, more) => Err(OpError::invalid(format!("{} lists of {which} where one is needed", more + 1))),
    }
}

fn default_text(a: &Attrs<'_>) -> Result<Tensor, OpError> {
    texts(vec![Bytes::copy_from_slice(a.string_or("default_string", "_Unused")?.as_bytes())])
}

fn read(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (from, values) = (list(a, "keys")?, list(a, "values")?);
    let (int, float, text) = (a.int_or("default_int64", -1)?, a.float_or("default_float", -0.0)?, default_text(a)?);
    let default = match (a.tensor("default_tensor")?, values.dtype()) {
        (Some(t), _) => t.clone(),
        (None, DType::String) => text,
        (None, DType::F32) => Tensor::scalar(float),
        (None, DType::F64) => Tensor::scalar(f64::from(float)),
        (None, DType::I64) => Tensor::scalar(int),
        (None, DType::I32) => Tensor::scalar(int as i32),
        (None, DType::I16) => Tensor::scalar(int as i16),
        (None, other) => return Err(OpError::unsupported(format!("values of {other}"))),
    };
    Ok(Box::new(LabelEncoder { tables: vec![table(&from, values, default)?] }))
}

/// Version 1: strings to their positions, or positions to strings.
fn read_classes(a: &mut Attrs<'_>) -> Result<Box<dyn Operator>, OpError> {
    let Some(Attr::Strings(classes)) = a.get("classes_strings") else {
        return Err(OpError::invalid("attribute classes_strings must be strings"));
    };
    let classes = texts(classes.clone())?;
    let positions = Tensor::from_vec(&[classes.len()], (0..classes.len() as i64).collect());
    let (int, text) = (Tensor::scalar(a.int_or("default_int64", -1)?), default_text(a)?);
    let there = table(&classes, positions.clone(), int)?;
    Ok(Box::new(LabelEncoder { tables: vec![there, table(&positions, classes, text)?] }))
}

impl LabelEncoder {
    fn table(&self, keys: DType) -> Result<&Table, OpError> {
        let found = self.tables.iter().find(|t| t.key_type == keys);
        found.ok_or_else(|| OpError::invalid(format!("{keys} where the keys are {}", self.tables[0].key_type)))
    }
}

impl Operator for LabelEncoder {
    fn class(&self) -> OpClass {
        OpClass::DataMovement
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<Fact>, OpError> {
        let shape = inputs.shape(0)?.unwrap_or(&[]).to_vec();
        Ok(vec![Fact::new(self.dtypes(inputs)?[0], shape)])
    }

    fn dtypes(&self, inputs: &Inputs<'_>) -> Result<Vec<DType>, OpError> {
        Ok(vec![self.table(inputs.need(0)?.dtype)?.values.dtype()])
    }

    fn run(&self, cx: &mut RunCx<'_>) -> Result<(), OpError> {
        let x = match cx.get_tensor(0) {
            Some(t) => t.clone(),
            None => cx.input(0)?.to_tensor(),
        };
        let table = self.table(x.dtype())?;
        let found = keys(&x)?.into_iter().map(|k| table.index.get(&k).copied());
        if table.values.dtype() == DType::String {
            let (values, default) = (table.values.strings(), &table.default.strings()[0]);
            let strings = found.map(|i| i.map_or(default, |i| &values[i]).clone()).collect();
            let made = Tensor::from_strings(x.shape().to_vec(), strings);
            return cx.set(0, made.map_err(|e| OpError::invalid(e.to_string()))?);
        }
        let elem = table.default.bytes().len();
        let (values, default) = (table.values.bytes(), table.default.bytes());
        for (y, i) in cx.out_bytes(0)?.chunks_exact_mut(elem).zip(found) {
            y.copy_from_slice(i.map_or(&default[..], |i| &values[i * elem..(i + 1) * elem]));
        }
        Ok(())
    }
}
