"""Writes the model and the profiles of this folder: `python make.py`, with torch, onnx and onnxruntime from PyPI."""

import glob
import json
import os

import numpy as np
import onnxruntime as ort
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEADS, WORDS, LENGTH = 16, 2, 40, 8


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.last = nn.LayerNorm(WIDTH)

    def forward(self, x):
        def heads(t):
            return t.view(t.shape[0], t.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)

        q, k, v = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = torch.softmax(torch.matmul(q, k.transpose(-1, -2)) / 2.83, -1)
        mixed = torch.matmul(scores, v).transpose(1, 2).reshape(x.shape)
        x = self.norm(x + self.out(mixed))
        return self.last(x + self.down(nn.functional.gelu(self.up(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, ids):
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.head(x[:, 0]))


torch.manual_seed(1)
model = Model().eval()
ids = torch.arange(LENGTH)[None]
path = os.path.join(HERE, "blocks.onnx")
axes = {"ids": {0: "batch", 1: "length"}}
torch.onnx.export(model, (ids,), path, input_names=["ids"], dynamic_axes=axes, opset_version=17, dynamo=False)

for level in ["ALL", "BASIC"]:
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.intra_op_num_threads = 1
    options.profile_file_prefix = os.path.join(HERE, "tmp")
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    if level == "ALL":
        options.optimized_model_filepath = os.path.join(HERE, "blocks_optimised.onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, {"ids": np.arange(LENGTH, dtype=np.int64)[None]})
    os.replace(session.end_profiling(), os.path.join(HERE, f"onnxruntime_{level.lower()}.json"))

torch.set_num_threads(1)
with torch.no_grad(), profile(
    activities=[ProfilerActivity.CPU], record_shapes=True, schedule=schedule(wait=0, warmup=1, active=2, repeat=1)
) as p:
    for _ in range(3):
        model(ids)
        p.step()
path = os.path.join(HERE, "kineto.json")
p.export_chrome_trace(path)
with open(path) as f:
    trace = json.load(f)
# Names of the machine that it ran on.
for key in ["host_name", "trace_id", "traceName"]:
    trace.pop(key, None)
with open(path, "w") as f:
    json.dump(trace, f, separators=(",", ":"))
for left in glob.glob(os.path.join(HERE, "tmp*")):
    os.remove(left)
