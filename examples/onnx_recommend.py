"""Recommend with a model that was exported without --topk, with onnxruntime and numpy alone; items of the history are left out:

python -m recbole_echomamba export saved/RUN
python examples/onnx_recommend.py saved/RUN/model.onnx 1193 661 914
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

if len(sys.argv) < 3:
    sys.exit("give a file and the ids of items, oldest first, as above")
file, *history = sys.argv[1:]
vocabulary = json.loads(Path(file).with_suffix(".json").read_text(encoding="utf-8"))
items, length = vocabulary["items"], vocabulary["length"]
number_of = {item: number for number, item in enumerate(items)}
unknown = [item for item in history if item not in number_of]
if unknown:
    sys.exit(f"give the ids of items that the model knows; {unknown} are none")
seen = [number_of[item] for item in history]

recent = seen[-length:]
item_seq = np.zeros((1, length), dtype=np.int64)
item_seq[0, : len(recent)] = recent
session = onnxruntime.InferenceSession(file)
if "scores" not in {output.name for output in session.get_outputs()} or "items" in {
    output.name for output in session.get_outputs()
}:
    sys.exit(f"{file} was exported with --topk and returns the best items only; export it without")
(scores,) = session.run(["scores"], {"item_seq": item_seq, "item_seq_len": np.array([len(recent)])})

scores[0, seen] = -np.inf
for number in np.argsort(-scores[0])[:10]:
    if np.isfinite(scores[0, number]):
        print(items[number], f"{scores[0, number]:.4f}")
