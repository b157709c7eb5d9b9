//! Where a node sits in the model that it was exported from: `encoder/layer.0/attention/self/query`.

use std::collections::HashSet;

use graph::Graph;

use super::proto::{NodeProto, StringStringEntryProto};

/// The scope of a node, from what its exporter left: PyTorch's dynamo exporter writes module paths into the node's
/// properties; the TorchScript exporter (and others) put them into the node's name. `None` if there is no trace of one.
pub(crate) fn scope_of(node: &NodeProto) -> Option<String> {
    if let Some(names) = property(&node.metadata_props, "pkg.torch.onnx.name_scopes") {
        return Some(from_modules(&string_list(names)));
    }
    if let Some(namespace) = property(&node.metadata_props, "namespace") {
        // `: pkg.Bert/encoder: pkg.Encoder/linear: aten.linear`: each part is a module's path and its class.
        let parts = namespace.split('/').map(|p| p.split(": ").next().unwrap_or_default().to_string());
        return Some(from_modules(&parts.collect::<Vec<_>>()));
    }
    from_name(node.name.as_deref().unwrap_or_default())
}

/// `/encoder/layer.0/query/MatMul` is `encoder/layer.0/query`: all but the last part.
fn from_name(name: &str) -> Option<String> {
    let (path, _operation) = name.rsplit_once('/')?;
    let mut parent = "";
    let mut scope = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        // Within a sequence, `features.0` is under `features` already.
        scope.push(inside(parent, part));
        parent = part;
    }
    Some(scope.join("/"))
}

/// A dotted path without that of its parent.
fn inside<'a>(parent: &str, path: &'a str) -> &'a str {
    path.strip_prefix(parent).and_then(|p| p.strip_prefix('.')).filter(|_| !parent.is_empty()).unwrap_or(path)
}

/// Gives the nodes named in `unknown` the scope of those that use their results, as far as these agree. The nodes are in
/// topological order.
pub(crate) fn inherit(graph: &mut Graph, unknown: &HashSet<String>) {
    if unknown.is_empty() {
        return;
    }
    let consumers = graph.consumers();
    for i in (0..graph.nodes.len()).rev().filter(|&i| unknown.contains(&graph.nodes[i].name)).collect::<Vec<_>>() {
        let outputs = graph.nodes[i].outputs.iter().flatten();
        let users = outputs.flat_map(|o| &consumers[o.index()]).map(|n| graph.nodes[n.index()].scope.as_str());
        let common = users.reduce(common_scope).unwrap_or_default().to_string();
        graph.nodes[i].scope = common;
    }
}

/// The innermost scope that holds both.
fn common_scope<'a>(a: &'a str, b: &str) -> &'a str {
    if a == b {
        return a;
    }
    let same = a.split('/').zip(b.split('/')).take_while(|(a, b)| a == b).map(|(a, _)| a.len() + 1).sum::<usize>();
    &a[..same.saturating_sub(1)]
}

/// Two scopes, one inside the other.
pub(crate) fn join(outer: &str, inner: &str) -> String {
    let parts: Vec<&str> = [outer, inner].into_iter().filter(|s| !s.is_empty()).collect();
    parts.join("/")
}

/// Module paths from the outermost to the innermost, and the operation last: `'', 'encoder', 'encoder.layer.0', 'linear'`.
fn from_modules(paths: &[String]) -> String {
    let Some((_operation, modules)) = paths.split_last() else { return String::new() };
    let mut scope: Vec<&str> = Vec::new();
    let mut parent = "";
    for path in modules {
        // A module that is called again has `@1` and so on behind its path.
        let path = path.split('@').next().unwrap_or_default();
        if path.is_empty() || path == parent || path.starts_with("_empty_nn_module_stack") {
            continue;
        }
        // Paths are absolute: within `encoder`, `encoder.layer.0` is `layer.0`; within none, or within another, it is itself.
        scope.push(inside(parent, path));
        parent = path;
    }
    scope.join("/")
}

fn property<'a>(props: &'a [StringStringEntryProto], key: &str) -> Option<&'a str> {
    let value = props.iter().find(|p| p.key.as_deref() == Some(key))?.value.as_ref()?;
    std::str::from_utf8(value).ok()
}

/// The strings of a list as Python prints it: `['', "it's", 'a']`.
fn string_list(text: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut chars = text.chars();
    while let Some(quote) = chars.find(|&c| c == '\'' || c == '"') {
        let mut s = String::new();
        while let Some(c) = chars.next().filter(|&c| c != quote) {
            s.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        strings.push(s);
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, props: &[(&str, &str)]) -> NodeProto {
        let pair =
            |&(k, v): &(&str, &str)| StringStringEntryProto { key: Some(k.into()), value: Some(v.to_string().into()) };
        NodeProto { name: Some(name.into()), metadata_props: props.iter().map(pair).collect(), ..Default::default() }
    }

    fn scope(name: &str, props: &[(&str, &str)]) -> String {
        scope_of(&node(name, props)).unwrap_or("unknown".into())
    }

    #[test]
    fn both_exporters_give_the_same_scope() {
        let wanted = "encoder/layer.0/attention/self/query";
        assert_eq!(scope("/encoder/layer.0/attention/self/query/MatMul", &[]), wanted);
        let names = "['', 'encoder', 'encoder.layer.0', 'encoder.layer.0.attention', 'encoder.layer.0.attention.self', \
                     'encoder.layer.0.attention.self.query', 'linear_1']";
        assert_eq!(scope("node_linear_1", &[("pkg.torch.onnx.name_scopes", names)]), wanted);
        let namespace = ": m.BertModel/encoder: m.BertEncoder/encoder.layer.0: m.BertLayer/encoder.layer.0.attention: m.A\
                         /encoder.layer.0.attention.self: m.S/encoder.layer.0.attention.self.query: t.Linear/linear: aten.linear";
        assert_eq!(scope("n", &[("namespace", namespace)]), wanted);
    }

    #[test]
    fn odd_names_do_no_harm() {
        assert_eq!(scope("", &[]), "unknown");
        assert_eq!(scope("/MatMul", &[]), "");
        assert_eq!(scope("//a//b", &[]), "a");
        let scopes = |s: &str| scope("x", &[("pkg.torch.onnx.name_scopes", s)]);
        assert_eq!(scopes("['_empty_nn_module_stack_from_metadata_hook', 'sym_size']"), "");
        assert_eq!(scopes("['', 'a', 'a@1', 'ab', \"ab.it's\", 'add']"), "a/ab/it's");
        assert_eq!(scopes("['', 'é', 'ü', 'add']"), "é/ü");
        assert_eq!(scopes("[]"), "");
        assert_eq!(scopes("['unclosed"), "");
        assert_eq!(scope("node_Split_3", &[]), "unknown");
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("a", "b"), "a/b");
    }

    #[test]
    fn modules_in_sequences_are_not_named_twice() {
        assert_eq!(scope("/features/features.1/conv/conv.0/conv.0.0/Conv", &[]), "features/1/conv/0/0");
        let dynamo =
            "['', 'features', 'features.1', 'features.1.conv', 'features.1.conv.0', 'features.1.conv.0.0', 'conv2d']";
        assert_eq!(scope("n", &[("pkg.torch.onnx.name_scopes", dynamo)]), "features/1/conv/0/0");
    }

    #[test]
    fn common_scopes() {
        let cases = [
            ("a/b", "a/b", "a/b"),
            ("a/b/c", "a/b/d", "a/b"),
            ("a", "ab", ""),
            ("a/b", "a", "a"),
            ("", "a", ""),
            ("é/x", "é/y", "é"),
        ];
        for (a, b, common) in cases {
            assert_eq!((common_scope(a, b), common_scope(b, a)), (common, common));
        }
    }
}
