"""Export a trained model to a file that other programs read: ONNX, or a program of ``torch.export``.

The file needs neither this package nor, as ONNX, torch. While it is traced, the operations are those of
:mod:`recbole_echomamba.ops.traceable`, so it holds no loop. It is written only if its scores are the model's.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recbole_echomamba.data.run_ids import DataNeeded
from recbole_echomamba.experiment import load_run, load_without_data
from recbole_echomamba.models.base import StateSpaceRecommender
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import check_writable, write_atomically, write_text
from recbole_echomamba.training.evaluation import check_scores

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
"""The formats, with the ends of their file names."""

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

TOLERANCE = 1e-5
"""How far a score of the file may be from the model's, relative to the largest score."""


@dataclass(frozen=True)
class Exported:
    """What :func:`export` has written.

    Attributes:
        file: the model.
        vocabulary: the ids of its items, as JSON.
        error: the largest difference between a score of the file and the model's, relative to the largest score.
    """

    file: Path
    vocabulary: Path
    error: float


def export(
    run: Path | str,
    to: str = "onnx",
    out: Path | str | None = None,
    topk: int | None = None,
    model: str | type | None = None,
    config_dict: dict | None = None,
) -> Exported:
    """Write the model of a run to one file, with the ids of its items beside it.

    Inputs are ``item_seq [B, L]``, item numbers right-padded with 0, and ``item_seq_len [B]``, at least 1, both int64. A model
    with ``time_gaps`` also reads ``time_seq [B, L]``, float32 seconds, 0 for padding and for unknown times. ``B`` is free, ``L``
    is the run's ``MAX_ITEM_LIST_LENGTH``. The output is ``scores [B, n_items]``, ``-inf`` for the padding item. With ``topk``
    outputs are ``items [B, topk]``, the numbers of the best items, and their ``scores [B, topk]``.

    The vocabulary is a JSON object: ``items`` lists the ids by number, ``length`` is ``L``.

    Args:
        run: run directory of the trained model.
        to: ``onnx`` or ``torch``.
        out: the file to write; ``model.onnx`` or ``model.pt2`` in the run directory by default. The vocabulary has its name with
            the end ``.json``.
        topk: number of best items to return instead of all scores.
        model: the class of a custom model or ``module:Class``, see :func:`.load_run`.
        config_dict: settings to change, see :func:`.load_run`.

    Raises:
        MissingFileError: the run directory, one of its files or the folder of ``out`` does not exist.
        UserError: the model cannot be exported, a package is missing, or the scores of the file are not the model's.
    """
    if to not in SUFFIXES:
        raise UserError(f"there is no format {to!r}; choose {' or '.join(SUFFIXES)}")
    if to == "onnx":
        _check_installed()
    file = Path(out) if out else Path(run) / f"model{SUFFIXES[to]}"
    if file.suffix != SUFFIXES[to]:
        raise UserError(f"the name of the file must end in {SUFFIXES[to]}, it is {file}")
    vocabulary = file.with_suffix(".json")
    check_writable(file, "--out")
    trained, items, length = _load(run, model, config_dict)
    if topk is not None and not 1 <= topk < len(items):
        raise UserError(f"topk must lie in 1..{len(items) - 1}, the number of items; it is {topk}")
    scorer = Scorer(trained, topk).eval()
    error = 0.0

    def write_and_check(temporary: str) -> None:
        nonlocal error
        run_file = WRITERS[to](scorer, _draw_histories(trained, length, [1, 2, length]), temporary)
        # other numbers of histories than the traced one
        checked = [_draw_histories(trained, length, counts) for counts in ([length], [1, 2, length // 2 + 1, length])]
        error = max(_compare(scorer, run_file, inputs, run) for inputs in checked)

    write_atomically(file, write_and_check, SUFFIXES[to])
    write_text(vocabulary, json.dumps({"length": length, "items": items}, ensure_ascii=False) + "\n")
    return Exported(file, vocabulary, error)


class Scorer(nn.Module):
    """Score all items for each history, or return the best ones: what an exported file computes.

    Args:
        model: a trained model.
        topk: number of best items; ``None`` for the scores of all.
    """

    def __init__(self, model: StateSpaceRecommender, topk: int | None = None):
        super().__init__()
        self.model = model
        self.topk = topk

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, time_seq: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute ``scores [B, n_items]``, or ``items [B, topk]`` and ``scores [B, topk]``."""
        # a custom model may have no argument for times
        times = () if time_seq is None else (time_seq,)
        scores = self.model.score(self.model.encode(item_seq, item_seq_len, *times))
        is_padding = torch.arange(scores.shape[1], device=scores.device) == 0
        scores = scores.masked_fill(is_padding, -torch.inf)
        if self.topk is None:
            return (scores,)
        best = scores.topk(self.topk)
        return best.indices, best.values

    @property
    def input_names(self) -> list[str]:
        """The names of the inputs of an exported file."""
        return ["item_seq", "item_seq_len", *(["time_seq"] if self.model.time_field else [])]

    def name_inputs(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return inputs by name."""
        return dict(zip(self.input_names, inputs, strict=True))

    @property
    def output_names(self) -> list[str]:
        """The names of its outputs."""
        return ["scores"] if self.topk is None else ["items", "scores"]


def _load(run: Path | str, model, config_dict: dict | None) -> tuple[StateSpaceRecommender, list[str], int]:
    """Return the model of a run on the CPU, the ids of its items by number, and the slots of a history."""
    arguments = (run, model, {**(config_dict or {}), "use_gpu": False})
    try:
        config, trained, ids = load_without_data(*arguments)
    except DataNeeded:
        config, trained, ids, *_ = load_run(*arguments)
    if not isinstance(trained, StateSpaceRecommender):
        raise UserError(
            f"{config['model']} cannot be exported; export a run of EchoMamba4Rec, Mamba4Rec or a StateSpaceRecommender"
        )
    items = ids.id2token(ids.iid_field, np.arange(ids.item_num)).astype(str).tolist()
    return trained.float(), items, config["MAX_ITEM_LIST_LENGTH"]


def _draw_histories(model: StateSpaceRecommender, length: int, counts: list[int]) -> tuple[Tensor, ...]:
    """Return inputs of an exported file: a random history for each number of items, which ``length`` limits."""
    draw = torch.Generator().manual_seed(len(counts))
    item_seq_len = torch.tensor(counts).clamp(max=length)
    size = (len(counts), length)
    is_item = torch.arange(length) < item_seq_len[:, None]
    item_seq = torch.randint(1, model.n_items, size, generator=draw) * is_item
    if not model.time_field:
        return item_seq, item_seq_len
    # from seconds to days
    gaps = (18 * torch.rand(size, generator=draw)).exp2()
    return item_seq, item_seq_len, gaps.cumsum(1) * is_item


def _compare(scorer: Scorer, run_file: Callable, inputs: tuple[Tensor, ...], run: Path | str) -> float:
    """Return how far the scores of a file are from the model's, relative to the largest.

    Raises:
        UserError: farther than :data:`TOLERANCE`, or the model's are not finite.
    """
    with torch.no_grad():
        (expected,) = Scorer(scorer.model)(*inputs)
    name = f"{type(scorer.model).__name__} of {run}"
    check_scores(expected[:, 1:], name, scorer.model)
    *items, found = run_file(inputs)
    wanted = [expected]
    if items:
        wanted = [expected.gather(1, items[0]), expected.topk(found.shape[1]).values]
    largest = float(expected[:, 1:].abs().max())
    # where both are -inf, the padding item, they are equal
    error = max(float(torch.where(found == each, 0, found - each).abs().max()) for each in wanted) / (largest or 1)
    if not error <= TOLERANCE:
        raise UserError(
            f"{name}: the exported scores differ from the model's by {error:.1e} of the largest, more than {TOLERANCE:.0e}; "
            "nothing is written"
        )
    return error


def _write_onnx(scorer: Scorer, inputs: tuple[Tensor, ...], file: str) -> Callable:
    """Write an ONNX file; return a function that runs it."""
    import onnxruntime

    program = _trace(scorer, inputs)
    with _without_warnings(), _explaining_failures(scorer, "ONNX has no form of it"):
        exported = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=scorer.input_names, output_names=scorer.output_names
        )
    for node in exported.model.graph:
        # lines of code, with the paths of this machine
        node.metadata_props.clear()
    exported.save(file, external_data=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run_file(inputs: tuple[Tensor, ...]) -> list[Tensor]:
        named = {name: tensor.numpy() for name, tensor in scorer.name_inputs(inputs).items()}
        return [torch.from_numpy(output) for output in session.run(scorer.output_names, named)]

    return run_file


def _write_torch(scorer: Scorer, inputs: tuple[Tensor, ...], file: str) -> Callable:
    """Write a program of ``torch.export``; return a function that runs it."""
    with _without_warnings():
        torch.export.save(_trace(scorer, inputs), file)
        program = torch.export.load(file).module()
    return torch.no_grad()(lambda inputs: program(**scorer.name_inputs(inputs)))


WRITERS = {"onnx": _write_onnx, "torch": _write_torch}


def _trace(scorer: Scorer, inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch")}
    shapes = {name: batch for name in scorer.input_names}
    with torch.no_grad(), _without_warnings(), _explaining_failures(scorer, "torch.export cannot trace it"):
        return torch.export.export(scorer, (), scorer.name_inputs(inputs), dynamic_shapes=shapes, strict=False)


@contextlib.contextmanager
def _explaining_failures(scorer: Scorer, problem: str) -> Iterator[None]:
    """Within the block, say of a custom model which operation cannot be exported; a failure of our models is a bug."""
    try:
        yield
    except Exception as error:
        if type(scorer.model).__module__.startswith("recbole_echomamba."):
            raise
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
        where = f" at `{frames[-1].line}`" if frames[-1].filename != __file__ else ""
        while error.__cause__ is not None:
            error = error.__cause__
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{type(scorer.model).__name__} cannot be exported, {problem}{where}: {reason}") from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Within the block, hide what torch's exporters say about themselves, and the graphs that they print when they fail."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _check_installed() -> None:
    """Check that the packages of ONNX are there.

    Raises:
        UserError: one is missing; the message says what to install.
    """
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"export to ONNX needs {' and '.join(missing)}; install the extra: pip install 'recbole_echomamba[export]'"
        )
