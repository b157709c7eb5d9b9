"""Scores every sample in onnxruntime and compares file and score with samples.json; any difference for the worse fails.

`check.py --write` puts the checksum, size and score it finds into samples.json instead.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

SAMPLES = Path(__file__).resolve().parent.parent
LIST = SAMPLES / "samples.json"
# The scores a sample must have whatever samples.json says.
LEAST_ACCURACY, MOST_PERPLEXITY = 0.97, 5.0
LARGEST = {"digits_vit": 1_000_000, "digits_cnn": 1_000_000, "char_gpt": 3_500_000}


def session(sample):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(SAMPLES / sample["model"], options, providers=["CPUExecutionProvider"])


def accuracy(sample):
    """Share of the held-out images whose largest logit is the label, rounded down to four places."""
    evaluation = sample["evaluation"]
    images, labels = np.load(SAMPLES / evaluation["images"]), np.load(SAMPLES / evaluation["labels"])
    (logits,) = session(sample).run([evaluation["output"]], {evaluation["input"]: images})
    assert np.isfinite(logits).all()
    right = int((logits.argmax(1) == labels).sum())
    return math.floor(right / len(labels) * 1e4) / 1e4


def perplexity(sample):
    """exp of the mean negative log-likelihood of every next character, in windows that do not overlap, rounded up.

    Window w reads the ids [w * context, (w + 1) * context) and is asked for the ids one further on; what is left
    over at the end of the text is not used.
    """
    evaluation = sample["evaluation"]
    context = evaluation["context"]
    ids = {c: i for i, c in enumerate(json.loads((SAMPLES / evaluation["vocabulary"]).read_text()))}
    text = np.array([ids[c] for c in (SAMPLES / evaluation["text"]).read_text()], dtype=np.int64)
    windows = (len(text) - 1) // context
    inputs = text[: windows * context].reshape(windows, context)
    targets = text[1 : windows * context + 1].reshape(windows, context)
    model, loss = session(sample), []
    for start in range(0, windows, 16):
        rows, wanted = inputs[start : start + 16], targets[start : start + 16]
        (logits,) = model.run([evaluation["output"]], {evaluation["input"]: rows})
        logits = logits.astype(np.float64)
        top = logits.max(-1, keepdims=True)
        norm = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
        loss.append(norm - np.take_along_axis(logits, wanted[..., None], -1)[..., 0])
    assert evaluation["predictions"] == windows * context, f"predictions must be {windows * context}"
    return math.ceil(math.exp(np.concatenate(loss).mean()) * 1e3) / 1e3


def dims(sample):
    """The model runs at its default dims and at others; its dynamic axes have the names samples.json gives them."""
    model = session(sample)
    (given,), (output,) = model.get_inputs(), model.get_outputs()
    names = [d for d in given.shape if isinstance(d, str)]
    assert names == list(sample["dims"]), f"dynamic axes {names}"
    assert output.shape[: len(names)] == names, f"output {output.shape}"
    kind = {"tensor(float)": np.float32, "tensor(int64)": np.int64}[given.type]
    for sizes in (sample["dims"], {name: 3 for name in names}, {name: 1 for name in names}):
        shape = [sizes.get(d, d) for d in given.shape]
        (result,) = model.run(None, {given.name: np.zeros(shape, kind)})
        assert list(result.shape[: len(names)]) == [sizes[name] for name in names]


def main():
    samples, write, failures = json.loads(LIST.read_text()), "--write" in sys.argv[1:], []
    for sample in samples:
        dims(sample)
        evaluation = sample["evaluation"]
        classes = evaluation["kind"] == "classification"
        score = accuracy(sample) if classes else perplexity(sample)
        content = (SAMPLES / sample["model"]).read_bytes()
        found = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        print(f"{sample['id']}: {evaluation['metric']} {score}, {len(content)} bytes")
        if not (score >= LEAST_ACCURACY if classes else score <= MOST_PERPLEXITY):
            failures.append(f"{sample['id']}: {evaluation['metric']} {score} is too poor for a sample")
        if len(content) > LARGEST[sample["id"]]:
            failures.append(f"{sample['id']}: {len(content)} bytes is too large")
        if write:
            sample.update(found)
            evaluation["score"] = score
            continue
        for key, value in found.items():
            if sample[key] != value:
                failures.append(f"{sample['id']}: {key} is {value}, samples.json says {sample[key]}")
        stated = evaluation["score"]
        if not (score >= stated if classes else score <= stated):
            failures.append(f"{sample['id']}: {evaluation['metric']} is {score}, samples.json says {stated}")
    if write and not failures:
        LIST.write_text(json.dumps(samples, indent=2, ensure_ascii=False) + "\n")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
