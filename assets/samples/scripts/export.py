"""Writes a trained module as one ONNX file without weights beside it and without traces of the machine."""

import ast

import onnx
import torch

# What the exporter records of the machine and of itself; the scopes of the modules stay.
PRIVATE = ("stack_trace", "fx_node", "exported_program", "original_node_name")


def name_weights(graph):
    """Gives the transposed weights of linear layers, which the exporter calls `val_13`, the name of their module."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"), None)
        if node.op_type == "MatMul" and scopes and node.input[1] in weights:
            module = ast.literal_eval(scopes)[-2]
            weights[node.input[1]].name = node.input[1] = f"{module}.weight"
    for value in [v for v in graph.value_info if v.name in weights]:
        graph.value_info.remove(value)


def export(model, example, path, *, inputs, outputs, dynamic, opset, dynamo=True):
    """`dynamic`: per input a dict from axis to the name of its dimension (with `dynamo`, torch.export dims by name)."""
    model = model.eval()
    if dynamo:
        torch.onnx.export(
            model, example, str(path), input_names=inputs, output_names=outputs, dynamic_shapes=dynamic,
            opset_version=opset, dynamo=True, external_data=False, optimize=True, verbose=False,
        )
    else:
        torch.onnx.export(
            model, example, str(path), input_names=inputs, output_names=outputs, dynamic_axes=dynamic,
            opset_version=opset, dynamo=False,
        )
    proto = onnx.load(path)
    for item in [proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output,
                 *proto.graph.initializer]:
        kept = [p for p in item.metadata_props if not any(word in p.key for word in PRIVATE)]
        for entry in kept:
            entry.value = entry.value.replace("__main__.", "")
        del item.metadata_props[:]
        item.metadata_props.extend(kept)
        item.doc_string = ""
    name_weights(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    kinds = sorted({node.op_type for node in proto.graph.node})
    print(f"{path.name}: {path.stat().st_size} bytes, {len(proto.graph.node)} nodes, {' '.join(kinds)}")
