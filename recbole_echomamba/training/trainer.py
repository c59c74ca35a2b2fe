"""RecBole's training loop with our checkpoints, per-target ranks and a history."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import torch
from filelock import FileLock
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.trainer.trainer import AbstractTrainer

from recbole_echomamba.data.preparation import atomic_files
from recbole_echomamba.data.vocabulary import write_vocabulary
from recbole_echomamba.system.allocator import keep_freed_memory
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256
from recbole_echomamba.system.signals import Interrupted, deferred_signals
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.evaluation import RankCollector


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


STATE_KEYS = {
    *("data_hash", "epoch", "model", "optimizer", "cur_step", "best_valid_score", "best_valid_result"),
    *("random", "data_order", "history"),
}


class Trainer(RecBoleTrainer, _DistributedSetup):
    """Trains and evaluates any sequential model.

    Attributes:
        run_directory: where this run is kept; made at the first save, ``None`` before.
        history: one entry per epoch: ``epoch, train_loss, seconds`` and, when validated, ``valid_score, valid_result``.
        users_per_second: of the last evaluation.
    """

    def __init__(self, config, model):
        for folder in (
            config["checkpoint_dir"],
            "log_tensorboard",
        ):  # RecBole's own way fails when two processes make them
            Path(folder).mkdir(parents=True, exist_ok=True)
        super().__init__(config, model)
        if config["keep_freed_memory"] and config["device"].type == "cpu":
            keep_freed_memory()
        self.eval_collector = RankCollector(config)
        self.run_directory: Path | None = None
        self.history: list[dict] = []
        self._resumed: dict | None = None
        self._lock: FileLock | None = None
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
        """RecBole's ``fit``; with ``saved`` the run directory is kept current after every epoch.

        The first Ctrl-C or SIGTERM ends it before the next batch by raising :class:`Interrupted`; the last whole epoch is kept.
        """
        self._data_generator = train_data.generator
        if saved and self.leads and self.run_directory is None:
            self._use(checkpoint.new_run_directory(self.config))
            write_vocabulary(self.run_directory, train_data.dataset, self.data_hash)
        if self._resumed:
            train_data.generator.set_state(self._resumed["data_order"].cpu())
            checkpoint.restore_random_states(self._resumed["random"])
        if self.finished:
            return self.best_valid_score, self.best_valid_result
        self._saved = saved
        with deferred_signals() as self._stop_asked:
            best = super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
            stop_asked = self._stop_asked()
        self._save_state()
        if stop_asked:
            raise Interrupted(self._how_to_go_on())  # it came after the last batch
        return best

    @functools.cached_property
    def data_hash(self) -> str:
        """SHA-256 of the atomic files that are read."""
        return sha256(*atomic_files(self.config))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the score has stopped rising."""
        return self.start_epoch >= self.epochs or self.cur_step > self.stopping_step

    def resume(self, directory: Path | str) -> None:
        """Go on with the run kept in ``directory``: weights, optimiser, generators, order of the data, early stopping, history.

        Raises ValueError when the directory is in use or its state is damaged, FileNotFoundError when there is none.
        """
        if self.leads:
            self._use(Path(directory))
        file = Path(directory) / checkpoint.STATE
        state = checkpoint.load_state(file, self.device)
        own = self.model.state_dict()
        if not isinstance(state, dict) or not set(state) >= STATE_KEYS or state["model"].keys() != own.keys():
            raise UserError(f"{file} is not a training state of {self.config['model']}")
        if state["data_hash"] != self.data_hash:
            raise UserError(f"the data have changed since {directory} was trained on them; start a new run")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.start_epoch = state["epoch"] + 1
        self.cur_step, self.best_valid_score = state["cur_step"], state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"]
        self.history = state["history"]
        self._resumed = state

    def _use(self, directory: Path) -> None:
        self._lock = checkpoint.claim(directory)
        self.run_directory = directory
        self.saved_model_file = str(directory / checkpoint.WEIGHTS)

    def release(self) -> None:
        """Let other processes use the run directory."""
        if self._lock:
            self._lock.release()

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        loss_func = loss_func or self.model.calculate_loss
        self._save_state()  # what the last epoch and its validation left behind

        def unless_asked_to_stop(interaction):
            if self._stop_asked():
                raise Interrupted(self._how_to_go_on())
            return loss_func(interaction)

        started = time.perf_counter()
        try:
            loss = super()._train_epoch(train_data, epoch_idx, unless_asked_to_stop, show_progress)
        except RuntimeError:
            if self._stop_asked():  # another process stopped a batch earlier, and left this one alone in a collective
                raise Interrupted(self._how_to_go_on()) from None
            raise
        total = float(sum(loss) if isinstance(loss, tuple) else loss)
        self.history.append({"epoch": epoch_idx, "train_loss": total, "seconds": time.perf_counter() - started})
        return loss

    def _how_to_go_on(self) -> str:
        if not self.leads:
            return "interrupted"
        if self.run_directory is None:
            return "interrupted; nothing was to be kept"
        return f"interrupted after {len(self.history)} epochs; go on with --resume={self.run_directory}"

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history[-1].update(valid_score=float(score), valid_result={k: float(v) for k, v in result.items()})
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """Keep the weights of the epoch that is best so far."""
        if not self.leads:
            return
        checkpoint.save_weights(self.model, Path(self.saved_model_file))
        if verbose:
            self.logger.info(f"Best so far: {self.saved_model_file}")

    def _save_state(self):
        if not self.leads or not self._saved:
            return
        state = {
            "data_hash": self.data_hash,
            "epoch": self.history[-1]["epoch"] if self.history else -1,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": {k: float(v) for k, v in (self.best_valid_result or {}).items()},
            "random": checkpoint.random_states(),
            "data_order": self._data_generator.get_state(),
            "history": self.history,
        }
        checkpoint.save_state(self.run_directory / checkpoint.STATE, state)

    def _map_reduce(self, result, num_sample):
        """The collector has brought all processes' users together already."""
        return result

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
