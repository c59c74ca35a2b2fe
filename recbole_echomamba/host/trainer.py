"""RecBole's training loop with our checkpoints, per-target ranks and a history."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.trainer.trainer import AbstractTrainer

from recbole_echomamba.host import checkpoint
from recbole_echomamba.host.evaluation import RankCollector
from recbole_echomamba.host.memory import keep_freed_memory


class _DistributedSetup(AbstractTrainer):
    """Stands where RecBole's Trainer looks for its base: gradients are shared on a CPU too, which has no device ids."""

    def __init__(self, config, model):
        self.config = config
        self.model = model
        if not config["single_spec"]:
            device_ids = [config["local_rank"]] if config["device"].type == "cuda" else None
            if device_ids:
                self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
            self.distributed_model = torch.nn.parallel.DistributedDataParallel(self.model, device_ids=device_ids)


class Trainer(RecBoleTrainer, _DistributedSetup):
    """Trains and evaluates any sequential model.

    Attributes:
        run_directory: where this run is kept; made at the first save, ``None`` before.
        history: one entry per epoch: ``epoch, train_loss, seconds`` and, when validated, ``valid_score, valid_result``.
        users_per_second: of the last evaluation.
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        if config["keep_freed_memory"] and config["device"].type == "cpu":
            keep_freed_memory()
        self.eval_collector = RankCollector(config)
        self.run_directory: Path | None = None
        self.history: list[dict] = []
        self.users_per_second = 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files: the only one, or the first of several."""
        return self.config["single_spec"] or torch.distributed.get_rank() == 0

    @property
    def best_epoch(self) -> int | None:
        """The epoch (from 0) whose weights are kept: the last of the best validated ones, as RecBole decides."""
        scored = [entry for entry in self.history if "valid_score" in entry]
        if not scored:
            return self.history[-1]["epoch"] if self.history else None
        sign = 1 if self.valid_metric_bigger else -1
        return max(scored, key=lambda entry: (sign * entry["valid_score"], entry["epoch"]))["epoch"]

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """RecBole's ``fit``; with ``saved`` the run directory is kept current after every epoch."""
        self._data_generator = train_data.generator

        def after_epoch(epoch, score):
            if saved:
                self._save_state()
            if callback_fn:
                callback_fn(epoch, score)

        return super().fit(train_data, valid_data, verbose, saved, show_progress, after_epoch)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        started = time.perf_counter()
        loss = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
        total = float(sum(loss) if isinstance(loss, tuple) else loss)
        self.history.append({"epoch": epoch_idx, "train_loss": total, "seconds": time.perf_counter() - started})
        return loss

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history[-1].update(valid_score=float(score), valid_result={k: float(v) for k, v in result.items()})
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """Keep the weights of the epoch that is best so far."""
        if not self.leads:
            return
        if self.run_directory is None:
            self.run_directory = checkpoint.new_run_directory(self.config)
            self.saved_model_file = str(self.run_directory / checkpoint.WEIGHTS)
        checkpoint.save_weights(self.model, Path(self.saved_model_file))
        if verbose:
            self.logger.info(f"Best so far: {self.saved_model_file}")

    def _save_state(self):
        if self.run_directory is None:
            return
        state = {
            "epoch": self.history[-1]["epoch"],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "random": checkpoint.random_states(),
            "data_order": self._data_generator.get_state(),
            "history": self.history,
        }
        checkpoint.save_state(self.run_directory / checkpoint.STATE, state)

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """RecBole's metrics on ``eval_data``; afterwards ``eval_collector.ranks()`` holds the rank of every target."""
        if load_best_model:
            self._load_weights(model_file)
        self.eval_collector.start()
        started = time.perf_counter()
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)
        self.users_per_second = eval_data.sample_size / (time.perf_counter() - started)
        if self.eval_collector.tied:
            self.logger.warning(
                "%d of %d targets share their score with another item: RecBole's metrics break such ties arbitrarily, "
                "the ranks kept beside them count them against the model",
                self.eval_collector.tied,
                eval_data.sample_size,
            )
        return result

    def _load_weights(self, model_file):
        """The best weights, or those of a file; with several processes the first reads and the others are told."""
        if self.leads:
            checkpoint.load_weights(self.model, model_file or self.saved_model_file)
        if not self.config["single_spec"]:
            for tensor in self.model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
