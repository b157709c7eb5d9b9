"""The digits of scikit-learn, split once and for all, and the training loop both digit models share.

Run as a script it writes the held-out part: `digits.eval.images.npy` and `digits.eval.labels.npy`.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from optim import Descent

SAMPLES = Path(__file__).resolve().parent.parent
SPLIT_SEED = 20240


def split():
    """Images scaled to [-1, 1] as f32 [n, 1, 8, 8], labels i64 [n]; 80 % to train on, 20 % held out."""
    digits = load_digits()
    images = (digits.images / 8.0 - 1.0).astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    return train_test_split(images, labels, test_size=0.2, random_state=SPLIT_SEED, stratify=labels)


def augment(images, generator):
    """A random turn of up to 12 degrees, a scale of up to 10 % and a shift of up to one pixel, then a little noise."""
    n = len(images)
    uniform = lambda scale: (torch.rand(n, generator=generator) * 2 - 1) * scale
    angle, zoom = uniform(math.radians(12)), 1 + uniform(0.1)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = zoom * angle.cos(), -zoom * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = zoom * angle.sin(), zoom * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = uniform(0.25), uniform(0.25)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # The background is -1: shift it to zero so that what comes in from outside is background too.
    moved = F.grid_sample(images + 1, grid, align_corners=False) - 1
    return moved + 0.05 * torch.randn(moved.shape, generator=generator)


def train(model, seed, epochs, adam_rate, muon_rate=0.01, batch=64):
    """Trains on the training part alone."""
    train_images, _, train_labels, _ = split()
    images, labels = torch.from_numpy(train_images), torch.from_numpy(train_labels)
    generator = torch.Generator().manual_seed(seed)
    parts = len(images) // batch
    descent = Descent(model, epochs * parts, adam_rate, muon_rate, weight_decay=0.05)
    model.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(images), generator=generator), 0.0
        for part in order[: parts * batch].split(batch):
            loss = F.cross_entropy(model(augment(images[part], generator)), labels[part], label_smoothing=0.05)
            descent.step(loss)
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total / parts:.4f}", flush=True)
    return model.eval()


def main():
    _, images, _, labels = split()
    np.save(SAMPLES / "digits.eval.images.npy", images)
    np.save(SAMPLES / "digits.eval.labels.npy", labels)
    print(images.shape, images.dtype, labels.shape, labels.dtype)


if __name__ == "__main__":
    main()
