"""A character-level GPT on the King James Version: 4 blocks, width 128, 4 heads, context 128.

Writes the model, its vocabulary (the characters by id) and the held-out text.
"""

import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import kjv
from export import export
from layers import Block
from optim import Descent

SAMPLES = Path(__file__).resolve().parent.parent
CONTEXT, BATCH, STEPS = 128, 24, 800


class CharGpt(nn.Module):
    def __init__(self, vocabulary, width=128, heads=4, depth=4):
        super().__init__()
        self.characters = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            if name.endswith(("attn.out.weight", "mlp.down.weight")):
                nn.init.zeros_(parameter)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        later = places[None, :] > places[:, None]
        x = self.characters(tokens) + self.places(places)
        for block in self.blocks:
            x = block(x, later)
        return self.head(self.norm(x))


def train(model, tokens, steps):
    descent = Descent(model, steps, adam_rate=4e-3, muon_rate=0.02)
    generator = torch.Generator().manual_seed(3)
    started, total = time.time(), 0.0
    for step in range(steps):
        starts = torch.randint(len(tokens) - CONTEXT - 1, (BATCH,), generator=generator)
        window = torch.stack([tokens[s : s + CONTEXT + 1] for s in starts])
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        descent.step(loss)
        total += loss.item()
        if step % 50 == 49:
            print(f"step {step + 1}: loss {total / 50:.4f}, {time.time() - started:.0f} s", flush=True)
            total = 0.0
    return model.eval()


def main():
    torch.manual_seed(3)
    torch.set_num_threads(1)
    train_text, held_out = kjv.texts()
    vocabulary = sorted(set(train_text))
    ids = {character: i for i, character in enumerate(vocabulary)}
    (SAMPLES / "char_gpt.vocab.json").write_text(json.dumps(vocabulary) + "\n")
    (SAMPLES / "char_gpt.eval.txt").write_text(held_out)
    tokens = torch.tensor([ids[c] for c in train_text])
    model = train(CharGpt(len(vocabulary)), tokens, STEPS)
    with torch.no_grad():
        held = torch.tensor([ids[c] for c in held_out])
        n = (len(held) - 1) // CONTEXT * CONTEXT
        inputs, targets = held[:n].view(-1, CONTEXT), held[1 : n + 1].view(-1, CONTEXT)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()
    print(f"held out: loss {loss:.4f}, perplexity {math.exp(loss):.4f}", flush=True)
    export(
        model, (torch.zeros(2, 16, dtype=torch.int64),), SAMPLES / "char_gpt.onnx",
        inputs=["tokens"], outputs=["logits"],
        dynamic=({0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("seq", min=1, max=CONTEXT)},),
        opset=20,
    )


if __name__ == "__main__":
    main()
