"""A small convolutional network on the digits: conv-BN-ReLU, a residual block, a depthwise-separable layer, pooling."""

import torch
import torch.nn.functional as F
from torch import nn

import digits_data
from export import export


class ConvBn(nn.Module):
    """Convolution and batch norm, then ReLU unless told otherwise."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, groups=1, relu=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu(x) if self.relu else x


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = ConvBn(width, width)
        self.second = ConvBn(width, width, relu=False)

    def forward(self, x):
        return F.relu(x + self.second(self.first(x)))


class DigitsCnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvBn(1, 32)
        self.residual = Residual(32)
        self.down = ConvBn(32, 64, stride=2)
        self.depthwise = ConvBn(64, 64, groups=64)
        self.pointwise = ConvBn(64, 128, kernel=1)
        self.head = nn.Linear(128, 10)

    def forward(self, images):
        x = self.down(self.residual(self.stem(images)))
        x = self.pointwise(self.depthwise(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def main():
    torch.manual_seed(2)
    torch.set_num_threads(1)
    model = digits_data.train(DigitsCnn(), seed=2, epochs=40, adam_rate=3e-3)
    export(
        model, (torch.zeros(2, 1, 8, 8),), digits_data.SAMPLES / "digits_cnn.onnx",
        inputs=["images"], outputs=["logits"], dynamic={"images": {0: "batch"}, "logits": {0: "batch"}},
        opset=17, dynamo=False,
    )


if __name__ == "__main__":
    main()
