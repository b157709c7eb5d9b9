//! Finds the operator of a node.

use std::collections::HashMap;
use std::sync::OnceLock;

use graph::Node;

use crate::attrs::Attrs;
use crate::op::{OpDef, OpError, Operator};
use crate::ops::{self, legacy};

/// The domain of the operators that passes make: a fused form, never found in a file.
pub const INTERNAL: &str = "stratoscope";

fn table() -> &'static HashMap<(&'static str, &'static str), Vec<&'static OpDef>> {
    static TABLE: OnceLock<HashMap<(&str, &str), Vec<&OpDef>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut t: HashMap<_, Vec<&OpDef>> = HashMap::new();
        for def in ops::ALL.iter().flat_map(|defs| defs.iter()) {
            t.entry((def.domain, def.name)).or_default().push(def);
        }
        t
    })
}

/// The number of operators (by domain and name) that are known, the internal ones left out.
pub fn operator_count() -> usize {
    table().keys().filter(|(domain, _)| *domain != INTERNAL).count()
}

/// True if some version of the operator is known.
pub fn knows(domain: &str, op_type: &str) -> bool {
    table().keys().any(|k| *k == (domain, op_type))
}

/// Reads a node into its operator.
pub fn read(node: &Node, opset: i64) -> Result<Box<dyn Operator>, OpError> {
    let defs = table()
        .iter()
        .find(|(k, _)| **k == (node.domain.as_str(), node.op_type.as_str()))
        .map(|(_, d)| d)
        .ok_or_else(|| OpError::unsupported("this operator is not implemented"))?;
    let internal = node.domain == INTERNAL;
    // Older forms were rewritten when the graph was taken apart.
    let opset = if node.domain.is_empty() { opset.max(legacy::MODERN) } else { opset };
    let def = defs.iter().find(|d| internal || (d.opsets.0..=d.opsets.1).contains(&opset)).ok_or_else(|| {
        let ranges: Vec<String> = defs.iter().map(|d| format!("{} to {}", d.opsets.0, d.opsets.1)).collect();
        OpError::unsupported(format!("this operator is implemented for opset {}", ranges.join(", ")))
    })?;
    let mut attrs = Attrs::new(node, opset);
    let op = (def.read)(&mut attrs)?;
    attrs.finish()?;
    Ok(op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_operator_is_listed_twice_for_one_opset() {
        for ((domain, name), defs) in table() {
            for (i, a) in defs.iter().enumerate() {
                for b in &defs[i + 1..] {
                    assert!(a.opsets.1 < b.opsets.0 || b.opsets.1 < a.opsets.0, "{domain}::{name}");
                }
            }
        }
    }
}
