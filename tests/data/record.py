"""Records what ONNX Runtime computes for the sample models: python record.py (needs numpy and onnxruntime from PyPI).

For each sample it writes SAMPLE.INPUT.npy and SAMPLE.OUTPUT.npy beside this script.
"""

import json
import pathlib

import numpy as np
import onnxruntime as ort

HERE = pathlib.Path(__file__).parent
SAMPLES = HERE.parent.parent / "assets" / "samples"


def inputs(sample, rng):
    evaluation = sample["evaluation"]
    if evaluation["kind"] == "classification":
        # Held-out digits and noise: what the models were made for, and what they were not.
        digits = np.load(SAMPLES / evaluation["images"])[:3]
        return np.concatenate([digits, rng.standard_normal((2, *digits.shape[1:]))]).astype(np.float32)
    words = len(json.loads((SAMPLES / evaluation["vocabulary"]).read_text()))
    return rng.integers(0, words, (2, 37), dtype=np.int64)


def main():
    rng = np.random.default_rng(7)
    for sample in json.loads((SAMPLES / "samples.json").read_text()):
        session = ort.InferenceSession(str(SAMPLES / sample["model"]), providers=["CPUExecutionProvider"])
        name = sample["evaluation"]["input"]
        feed = {name: inputs(sample, rng)}
        np.save(HERE / f"{sample['id']}.{name}.npy", feed[name])
        for output, value in zip(session.get_outputs(), session.run(None, feed)):
            np.save(HERE / f"{sample['id']}.{output.name}.npy", value)
            print(sample["id"], output.name, value.shape, float(np.abs(value).max()))


if __name__ == "__main__":
    main()
