//! Model-local functions: a node that names one is replaced by its body.

use std::collections::{BTreeMap, HashMap};

use graph::{Attr, Node};

use super::OnnxError;
use super::convert::{Attrs, Builder, Converter, Frame, MAX_DEPTH, normal_domain, opsets};
use super::proto::{FunctionProto, NodeProto};
use super::scope;

/// The functions of a model, by domain, name and overload.
pub(super) struct Functions<'a>(HashMap<(&'a str, &'a str, &'a str), &'a FunctionProto>);

impl<'a> Functions<'a> {
    pub fn new(functions: &'a [FunctionProto]) -> Result<Self, OnnxError> {
        let mut map = HashMap::new();
        for f in functions {
            let name = f.name.as_deref().unwrap_or_default();
            let key = (normal_domain(f.domain.as_deref()), name, f.overload.as_deref().unwrap_or_default());
            if map.insert(key, f).is_some() {
                return Err(OnnxError::Function { function: name.into(), why: "is defined twice".into() });
            }
        }
        Ok(Functions(map))
    }

    /// The function that a node calls, if it is a call.
    pub fn get(&self, node: &NodeProto) -> Option<&'a FunctionProto> {
        let op = node.op_type.as_deref().unwrap_or_default();
        let key = (normal_domain(node.domain.as_deref()), op, node.overload.as_deref().unwrap_or_default());
        self.0.get(&key).copied()
    }
}

impl<'a> Converter<'a> {
    /// Puts the body of `f` in the place of `node`, whose name, scope and attributes are `of_node`. The call becomes a
    /// level of scope, and a prefix for the names of the body.
    pub(super) fn call(
        &mut self,
        b: &mut Builder,
        caller: &mut Frame<'a>,
        node: &'a NodeProto,
        f: &'a FunctionProto,
        of_node: (String, String, Attrs),
    ) -> Result<(), OnnxError> {
        let (name, outer_scope, mut attrs) = of_node;
        let function = f.name.clone().unwrap_or_default();
        let fail = |why: String| OnnxError::Function {
            function: function.clone(),
            why: format!("called by node \"{name}\": {why}"),
        };
        if caller.depth >= MAX_DEPTH {
            return Err(fail(format!("calls nested deeper than {MAX_DEPTH}; does it call itself?")));
        }
        self.spend(f.input.len() + f.output.len() + f.attribute_proto.len() + f.opset_import.len())?;
        if node.input.len() > f.input.len() || node.output.len() > f.output.len() {
            return Err(fail(format!(
                "it has {} inputs and {} outputs, the call {} and {}",
                f.input.len(),
                f.output.len(),
                node.input.len(),
                node.output.len()
            )));
        }
        self.import(f)?;
        for default in &f.attribute_proto {
            let key = default.name.clone().unwrap_or_default();
            if !attrs.contains_key(&key)
                && let Some(attr) = self.attr(b, caller, &name, default, &mut Vec::new())?
            {
                attrs.insert(key, attr);
            }
        }
        if let Some(key) = attrs.iter().find(|(_, a)| matches!(a, Attr::Graph(_) | Attr::Graphs(_))).map(|(k, _)| k) {
            return Err(OnnxError::Unsupported {
                what: format!("graph attribute \"{key}\" of a function (node \"{name}\")"),
            });
        }

        let last = name.rsplit('/').next().unwrap_or_default();
        let mut frame = caller.call(attrs, name.clone(), scope::join(&outer_scope, last));
        let user = format!("node \"{name}\"");
        for (i, formal) in f.input.iter().enumerate() {
            frame.define(formal, || format!("as an input of function \"{function}\""))?;
            let actual = node.input.get(i).filter(|n| !n.is_empty());
            let id = actual.map(|n| b.lookup(caller, n, &user)).transpose()?.flatten();
            frame.values.insert(formal, id);
        }
        frame.define_outputs(&f.node)?;
        for (formal, actual) in f.output.iter().zip(&node.output).filter(|(_, actual)| !actual.is_empty()) {
            let output = b.lookup(caller, actual, &user)?;
            if !frame.defined.contains_key(formal.as_str()) {
                return Err(fail(format!("its output \"{formal}\" is produced by nothing")));
            }
            match frame.values.get(formal.as_str()).copied() {
                // An input that is handed through, or an output that is named twice.
                Some(source) => {
                    let (inputs, outputs, attrs) = (vec![source], vec![output], BTreeMap::new());
                    let (name, op_type, scope) =
                        (format!("{name}/Identity"), "Identity".to_string(), frame.scope.clone());
                    let domain = String::new();
                    b.push(
                        Node { name, domain, op_type, inputs, outputs, attrs, scope, sources: vec![] },
                        vec![],
                        true,
                    );
                }
                None => {
                    frame.values.insert(formal, output);
                }
            }
        }
        self.nodes(b, &mut frame, &f.node)
    }

    /// Adds the opsets that a function needs. A model has one version of each domain, so another one is an error.
    fn import(&mut self, f: &FunctionProto) -> Result<(), OnnxError> {
        for (domain, version) in opsets(&f.opset_import)? {
            let used = |n: &NodeProto| normal_domain(n.domain.as_deref()) == domain && self.functions.get(n).is_none();
            if f.node.iter().any(used) {
                let of_model = *self.opsets.entry(domain.clone()).or_insert(version);
                if of_model != version {
                    let function = f.name.clone().unwrap_or_default();
                    let why = format!(
                        "is for opset {version} of domain \"{domain}\", the model for {of_model}: not supported"
                    );
                    return Err(OnnxError::Function { function, why });
                }
            }
        }
        Ok(())
    }
}
