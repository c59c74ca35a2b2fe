"""Measure what happens to a dataset between its raw files and its metrics, each stage in a process of its own."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fresh_process import call_in_fresh_process

# Neither torch nor RecBole: preparation runs without them, and its peak memory is that of its process.

USERS = 10_000
"""Users that are validated, and that get recommendations."""

STEPS = 5
"""Training steps, of which the first is not measured."""

SAMPLED = {"loss_type": "SampledCE", "train_negatives": 4096, "learner": "lazy_adam"}
ALL_KEPT = {"user_inter_num_interval": "[1,inf)", "item_inter_num_interval": "[1,inf)"}


@dataclass(frozen=True)
class Row:
    """A dataset of the table.

    Attributes:
        settings: those of its run, beyond :data:`ALL_KEPT`.
        flags: those of its preparation.
    """

    settings: dict
    flags: list[str] = field(default_factory=list)


ROWS = {
    "ml-1m": Row({"MAX_ITEM_LIST_LENGTH": 200}),
    "ml-32m": Row({"MAX_ITEM_LIST_LENGTH": 200}),
    "netflix": Row({"MAX_ITEM_LIST_LENGTH": 200}),
    "tmall": Row({"MAX_ITEM_LIST_LENGTH": 50, **SAMPLED}, ["--action", "all"]),
    "lfm-1b": Row({"MAX_ITEM_LIST_LENGTH": 200, **SAMPLED}, ["--dedup", "keep-first"]),
}


@dataclass(frozen=True)
class Job:
    """What a stage is given."""

    name: str
    raw: Path
    folder: Path
    model: str
    threads: int

    @property
    def inter_file(self) -> Path:
        """The file that preparation writes."""
        return self.folder / self.name / f"{self.name}.inter"

    def config(self):
        """Return the configuration of the run."""
        import torch

        from recbole_echomamba import Config

        torch.set_num_threads(self.threads)
        settings = {**ALL_KEPT, **ROWS[self.name].settings, "train_batch_size": 2048, "use_gpu": False}
        places = {"data_path": str(self.folder), "checkpoint_dir": str(self.folder / "saved"), "show_progress": False}
        return Config(self.model, self.name, config_dict={**settings, **places})


def prepare(job: Job) -> dict:
    """Prepare the raw files with ``dataset_prep``."""
    from dataset_prep.__main__ import main as prepare_dataset

    code = prepare_dataset(
        [job.name, "--raw", str(job.raw), "--out", str(job.folder), "--force", *ROWS[job.name].flags]
    )
    if code:
        raise SystemExit(f"dataset_prep ended with exit code {code}")
    return {"raw_gb": round(_count_bytes(job.raw) / 1e9, 2)}


def _count_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))


def start_first(job: Job) -> dict:
    """Read the ``.inter`` file up to the first batch, without the cache."""
    from recbole_echomamba.data import cache

    shutil.rmtree(job.inter_file.parent / cache.FOLDER, ignore_errors=True)
    return start(job)


def start(job: Job) -> dict:
    """Read the dataset up to the first batch, from the cache if there is one."""
    from recbole_echomamba import create_dataset, data_preparation

    config = job.config()
    dataset = create_dataset(config)
    interactions = dataset.inter_num
    train, *_ = data_preparation(config, dataset)
    next(iter(train))
    sizes = {"users": dataset.user_num - 1, "items": dataset.item_num - 1, "interactions": interactions}
    return {**sizes, "samples": len(train.dataset)}


def start_recbole(job: Job) -> dict:
    """Read the dataset up to the first batch with RecBole's own class."""
    from recbole.data import data_preparation
    from recbole.data.dataset import SequentialDataset

    config = job.config()
    next(iter(data_preparation(config, SequentialDataset(config))[0]))
    return {}


def train_steps(job: Job) -> dict:
    """Train some steps, batches included; measure each, and give the hours of an epoch at that speed on an idle machine."""
    from recbole_echomamba import Trainer
    from recbole_echomamba.experiment import build

    config = job.config()
    built = build(config)
    trainer = Trainer(config, built.model)
    batches = iter(built.train)
    wall, cpu = [], []
    for _ in range(STEPS):
        begin = time.perf_counter(), time.process_time()
        loss = built.model.calculate_loss(next(batches))
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
        wall.append(time.perf_counter() - begin[0])
        cpu.append(time.process_time() - begin[1])
    step = statistics.median(cpu[1:])
    return {
        "step_seconds": round(statistics.median(wall[1:]), 2),
        "step_cpu_seconds": round(step, 2),
        "steps": len(built.train),
        "epoch_cpu_hours": round(step * len(built.train) / 3600, 2),
        "loss": round(loss.item(), 4),
    }


def validate(job: Job) -> dict:
    """Compute the metrics of the first users, ranked among all items."""
    from recbole_echomamba import Trainer
    from recbole_echomamba.data.dataloader import FullSortLoader
    from recbole_echomamba.experiment import build

    config = job.config()
    built = build(config)
    part = built.valid.dataset
    loader = FullSortLoader(config, part.copy(part.inter_feat[:USERS]), None)
    begin = time.process_time()
    result = Trainer(config, built.model).evaluate(loader, load_best_model=False)
    spent = time.process_time() - begin
    return {"users": len(loader.dataset), "own_cpu_seconds": round(spent, 1), "ndcg@10": float(result["ndcg@10"])}


def recommend(job: Job) -> dict:
    """Recommend ten items to the first users."""
    from recbole_echomamba import Recommender
    from recbole_echomamba.experiment import build

    config = job.config()
    built = build(config)
    recommender = Recommender(config, built.model.eval(), built.dataset, ("an untrained run", None, None))
    users = built.dataset.id2token(built.dataset.uid_field, range(1, min(USERS + 1, built.dataset.user_num)))
    begin = time.process_time()
    table = recommender.recommend(users.tolist(), topk=10)
    return {"users": table["user_id"].nunique(), "own_cpu_seconds": round(time.process_time() - begin, 1)}


STAGES: dict[str, Callable[[Job], dict]] = {
    "prepare": prepare,
    "first start": start_first,
    "second start": start,
    "step": train_steps,
    "validation": validate,
    "recommendation": recommend,
    "RecBole's start": start_recbole,
}
"""Stage to what is measured; RecBole's own start only where the dataset fits."""


def measure(stage: str, job: Job) -> dict:
    """Run a stage in a process of its own and return its figures."""
    return call_in_fresh_process(_measure_here, stage, job)


def _measure_here(stage: str, job: Job) -> dict:
    """Run a stage and add the seconds, the processor's seconds and the peak memory of this process."""
    begin = time.perf_counter(), time.process_time()
    found = STAGES[stage](job)
    seconds, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    # not before: preparation runs without torch, which this imports
    from recbole_echomamba.system.hardware import measure_peak_process_memory

    peak = round(measure_peak_process_memory() / 2**30, 2)
    return {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "peak_gib": peak, **found}
