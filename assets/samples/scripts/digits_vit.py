"""A small vision transformer on the digits: pre-norm, 2x2 patches of the 8x8 image, 4 blocks, width 64, 4 heads."""

import torch
from torch import nn

import digits_data
from export import export
from layers import Block


class DigitsVit(nn.Module):
    def __init__(self, width=64, heads=4, depth=4):
        super().__init__()
        self.patches = nn.Conv2d(1, width, kernel_size=2, stride=2)
        self.first = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = digits_data.train(DigitsVit(), seed=1, epochs=60, adam_rate=2e-3)
    export(
        model, (torch.zeros(2, 1, 8, 8),), digits_data.SAMPLES / "digits_vit.onnx",
        inputs=["images"], outputs=["logits"], dynamic=({0: torch.export.Dim("batch", min=1, max=4096)},), opset=18,
    )


if __name__ == "__main__":
    main()
