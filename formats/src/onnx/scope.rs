//! Where a node sits in the model that it was exported from: `encoder/layer.0/attention/self/query`.

use super::proto::{NodeProto, StringStringEntryProto};

/// The scope of a node, from what its exporter left: PyTorch's dynamo exporter writes module paths into the node's
/// properties; the TorchScript exporter (and others) put them into the node's name. Empty if unknown.
pub(crate) fn scope_of(node: &NodeProto) -> String {
    if let Some(names) = property(&node.metadata_props, "pkg.torch.onnx.name_scopes") {
        return from_modules(&string_list(names));
    }
    if let Some(namespace) = property(&node.metadata_props, "namespace") {
        // `: pkg.Bert/encoder: pkg.Encoder/linear: aten.linear`: each part is a module's path and its class.
        let parts = namespace.split('/').map(|p| p.split(": ").next().unwrap_or_default().to_string());
        return from_modules(&parts.collect::<Vec<_>>());
    }
    from_name(node.name.as_deref().unwrap_or_default())
}

/// `/encoder/layer.0/query/MatMul` is `encoder/layer.0/query`: all but the last part.
pub(crate) fn from_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    parts.split_last().map(|(_, scope)| scope.join("/")).unwrap_or_default()
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
        scope.push(path.strip_prefix(parent).and_then(|p| p.strip_prefix('.')).unwrap_or(path));
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

    #[test]
    fn both_exporters_give_the_same_scope() {
        let wanted = "encoder/layer.0/attention/self/query";
        assert_eq!(scope_of(&node("/encoder/layer.0/attention/self/query/MatMul", &[])), wanted);
        let names = "['', 'encoder', 'encoder.layer.0', 'encoder.layer.0.attention', 'encoder.layer.0.attention.self', \
                     'encoder.layer.0.attention.self.query', 'linear_1']";
        assert_eq!(scope_of(&node("node_linear_1", &[("pkg.torch.onnx.name_scopes", names)])), wanted);
        let namespace = ": m.BertModel/encoder: m.BertEncoder/encoder.layer.0: m.BertLayer/encoder.layer.0.attention: m.A\
                         /encoder.layer.0.attention.self: m.S/encoder.layer.0.attention.self.query: t.Linear/linear: aten.linear";
        assert_eq!(scope_of(&node("n", &[("namespace", namespace)])), wanted);
    }

    #[test]
    fn odd_names_do_no_harm() {
        assert_eq!(scope_of(&node("", &[])), "");
        assert_eq!(scope_of(&node("/MatMul", &[])), "");
        assert_eq!(scope_of(&node("//a//b", &[])), "a");
        let scopes = |s: &str| scope_of(&node("x", &[("pkg.torch.onnx.name_scopes", s)]));
        assert_eq!(scopes("['_empty_nn_module_stack_from_metadata_hook', 'sym_size']"), "");
        assert_eq!(scopes("['', 'a', 'a@1', 'ab', \"ab.it's\", 'add']"), "a/ab/it's");
        assert_eq!(scopes("['', 'é', 'ü', 'add']"), "é/ü");
        assert_eq!(scopes("[]"), "");
        assert_eq!(scopes("['unclosed"), "");
        assert_eq!(join("", "a"), "a");
        assert_eq!(join("a", "b"), "a/b");
    }
}
