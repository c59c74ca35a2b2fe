"""RecBole's training loop with resumable checkpoints, a history and the rank of every target."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import torch
from filelock import FileLock
from recbole.trainer import Trainer as RecBoleTrainer
from recbole.trainer.trainer import AbstractTrainer

from dataset_prep.words import count
from recbole_echomamba.data.dataloader import ranks_by_blocks
from recbole_echomamba.data.dataset_files import atomic_files
from recbole_echomamba.data.vocabulary import write_vocabulary
from recbole_echomamba.system.allocator import keep_freed_memory
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256
from recbole_echomamba.system.ranks import is_distributed, is_main_process
from recbole_echomamba.system.signals import Interrupted, deferred_signals
from recbole_echomamba.system.terminal import progress_bar
from recbole_echomamba.training import checkpoint
from recbole_echomamba.training.evaluation import LinearScores, RankCollector
from recbole_echomamba.training.lazy_adam import LazyAdam
from recbole_echomamba.training.progress import EpochLines
from recbole_echomamba.training.run_directory import (
    STATE_FILE,
    WEIGHTS_FILE,
    has_progress,
    lock_run_directory,
    new_run_directory,
)
from recbole_echomamba.training.schedule import restore_schedule, schedule_learning_rate

STATE_KEYS = {
    "data_hash",
    "epoch",
    "model",
    "optimizer",
    "cur_step",
    "best_valid_score",
    "best_valid_result",
    "random",
    "data_order",
    "history",
}
"""The entries of a training state."""


class _DistributedSetup(AbstractTrainer):
    """Replace ``AbstractTrainer`` in the method resolution order of RecBole's trainer.

    RecBole's own class passes a device id to ``DistributedDataParallel``, which a CPU does not have.
    """

    def __init__(self, config, model):
        self.config = config
        self.model = model
        if is_distributed(config):
            device_ids = None
            if config["device"].type == "cuda":
                device_ids = [config["local_rank"]]
                self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
            self.distributed_model = torch.nn.parallel.DistributedDataParallel(self.model, device_ids=device_ids)


class Trainer(RecBoleTrainer, _DistributedSetup):
    """Train and evaluate any sequential model.

    Early stopping is :func:`recbole.utils.early_stopping`, which RecBole's ``fit`` calls after each validation: training ends
    when ``stopping_step + 1`` validations in a row are below the best. :attr:`finished` and :attr:`best_epoch` follow its rule.

    Attributes:
        run_directory: where the run is saved; created at the start of training, ``None`` before.
        history: one entry per epoch: ``epoch, train_loss, seconds`` and, if it was validated, ``valid_score, valid_result``.
        users_per_second: the speed of the last evaluation.
        result_unseen: the metrics of the last evaluation with the items of each history taken out of the ranking.
    """

    def __init__(self, config, model):
        # RecBole creates these folders too, but fails when two processes do so at the same time
        for folder in (config["checkpoint_dir"], "log_tensorboard"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        super().__init__(config, model)
        if config["keep_freed_memory"] and config["device"].type == "cpu":
            keep_freed_memory()
        self.eval_collector = RankCollector(config)
        self.eval_collector.model = model
        self.run_directory: Path | None = None
        self.history: list[dict] = []
        self.users_per_second = 0.0
        self.result_unseen: dict[str, float] = {}
        self._resumed_state: dict | None = None
        self._lock: FileLock | None = None

    @property
    def best_epoch(self) -> int | None:
        """The epoch, counted from 0, whose weights are saved: the best validated one, or the last without validation."""
        scored = [entry for entry in self.history if "valid_score" in entry]
        if not scored:
            return self.history[-1]["epoch"] if self.history else None
        sign = 1 if self.valid_metric_bigger else -1
        # Of equal scores RecBole keeps the last
        return max(scored, key=lambda entry: (sign * entry["valid_score"], entry["epoch"]))["epoch"]

    @property
    def best_valid_result_unseen(self) -> dict[str, float]:
        """The validation metrics of the best epoch with the items of each history taken out of the ranking."""
        return next(
            (entry.get("valid_result_unseen", {}) for entry in self.history if entry["epoch"] == self.best_epoch), {}
        )

    @functools.cached_property
    def data_hash(self) -> str:
        """The SHA-256 of the atomic files that the run reads."""
        return sha256(*atomic_files(self.config))

    @property
    def _processes(self) -> int:
        return self.config["world_size"] if is_distributed(self.config) else 1

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the validation score has stopped improving."""
        return self.start_epoch >= self.epochs or self.cur_step > self.stopping_step

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """Train like RecBole's ``fit``, and save the state of training after every epoch.

        The first SIGINT or SIGTERM ends training before the next batch; the last complete epoch is saved.

        Args:
            train_data: the loader of the training part.
            valid_data: the loader of the validation part; ``None`` to train all epochs without validation.
            verbose: whether to log and show losses and scores.
            saved: whether to save weights and state in a run directory.
            show_progress: whether to show a progress bar of each epoch, on a terminal.
            callback_fn: called after each validation with the epoch and the score.

        Returns:
            The best validation score and the metrics it is from.

        Raises:
            Interrupted: a signal was received; the message says how to resume.
            UserError: the training loss is NaN, or the run directory is in use by another process.
        """
        self._data_generator = train_data.generator
        self._scheduler = schedule_learning_rate(self.config, self.optimizer, self.epochs * len(train_data))
        if saved and is_main_process(self.config) and not self._resumed_state:
            if self.run_directory is None:
                self._lock_run_directory(new_run_directory(self.config))
            write_vocabulary(self.run_directory, train_data.dataset, self.data_hash)
        if self._resumed_state:
            train_data.generator.set_state(self._resumed_state["data_order"].cpu())
            checkpoint.restore_random_states(self._resumed_state["random"])
            if self._scheduler:
                restore_schedule(self._scheduler, self._resumed_state["scheduler"])
        if self.finished:
            return self.best_valid_score, self.best_valid_result
        self._saved = saved
        self._epoch_lines = EpochLines(self, len(train_data), shown=verbose and is_main_process(self.config))
        with deferred_signals() as self._signal_received:
            # RecBole's lines count epochs from 0; EpochLines shows and logs what they say
            best = super().fit(train_data, valid_data, False, saved, show_progress, callback_fn)
            received_after_last_batch = self._signal_received()
        self._complete_epoch()
        if received_after_last_batch:
            raise Interrupted(self.interruption_message())
        return best

    def resume(self, directory: Path | str) -> None:
        """Load the state of an interrupted run, so that :meth:`fit` continues it exactly.

        A run that was interrupted before its first save starts from the beginning.

        Args:
            directory: the run directory, which is locked until :meth:`release`.

        Raises:
            MissingFileError: the directory holds no training state.
            UserError: the directory is in use, its state is damaged, or the data have changed since.
        """
        if is_main_process(self.config):
            self._lock_run_directory(Path(directory))
        if not has_progress(Path(directory)):
            return
        file = Path(directory) / STATE_FILE
        state = checkpoint.load_state(file, self.device)
        parameters = self.model.state_dict().keys()
        if not isinstance(state, dict) or not set(state) >= STATE_KEYS or state["model"].keys() != parameters:
            raise UserError(f"{file} is not a training state of {self.config['model']}")
        processes = state.get("processes", self._processes)
        if processes != self._processes:
            raise UserError(
                f"{directory} was trained in {count(processes, 'process', 'processes')}, not in {self._processes}; resume it "
                f"with --nproc={processes}"
            )
        if state["data_hash"] != self.data_hash:
            raise UserError(f"the data have changed since {directory} was trained on them; start a new run")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["epoch"] + 1 > self.epochs:
            raise UserError(
                f"{directory} has trained {count(state['epoch'] + 1, 'epoch')} already; --epochs cannot be lower"
            )
        self.start_epoch = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        self.best_valid_result = state["best_valid_result"]
        self.history = state["history"]
        self._resumed_state = state

    def release(self) -> None:
        """Unlock the run directory for other processes."""
        if self._lock:
            self._lock.release()

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """Compute RecBole's metrics; afterwards ``eval_collector.ranks()`` holds the rank of every target.

        Args:
            eval_data: the loader of the validation or test part.
            load_best_model: whether to load the weights of the best epoch first.
            model_file: the weights to load instead of those in the run directory.
            show_progress: whether to show a progress bar, on a terminal.

        Returns:
            The metrics by name.

        Raises:
            UserError: the model gave NaN scores, or the weights do not fit it.
        """
        if load_best_model:
            self._load_weights(model_file)
        started = time.perf_counter()
        with progress_bar(len(eval_data), "evaluation", show_progress) as bar:
            self.eval_collector.start(after_batch=bar.update)
            result = super().evaluate(eval_data, load_best_model=False)
        self.users_per_second = eval_data.sample_size / (time.perf_counter() - started)
        self.result_unseen = self.eval_collector.result_unseen()
        if self.eval_collector.tied:
            self.logger.warning(
                "%d of %d targets share their score with another item, which counts against the model",
                self.eval_collector.tied,
                eval_data.sample_size,
            )
        return result

    @functools.cached_property
    def _ranks_by_blocks(self) -> bool:
        by_blocks = ranks_by_blocks(type(self.model), self.config, self.tot_item_num)
        if by_blocks:
            self.logger.info(
                "Evaluation ranks items by blocks: the scores of %d users over %d items would take %.1f GB",
                self.config["eval_batch_size"],
                self.tot_item_num,
                4e-9 * self.config["eval_batch_size"] * self.tot_item_num,
            )
        return by_blocks

    def _full_sort_batch_eval(self, batched_data):
        if not self._ranks_by_blocks:
            return super()._full_sort_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        encoded = self.model.encode_batch(interaction.to(self.device))
        return interaction, LinearScores(encoded, self.model.item_embedding.weight), positive_u, positive_i

    def _build_optimizer(self, **kwargs):
        if self.config["learner"] == "lazy_adam":
            return LazyAdam(self.model.parameters(), lr=self.learning_rate)
        return super()._build_optimizer(**kwargs)

    def _lock_run_directory(self, directory: Path) -> None:
        self._lock = lock_run_directory(directory)
        self.run_directory = directory
        self.saved_model_file = str(directory / WEIGHTS_FILE)

    def _train_epoch(self, train_data, epoch_idx, loss_func=None, show_progress=False):
        loss_func = loss_func or self.model.calculate_loss
        # RecBole updates the best score after validation, so only now is the state of the last epoch complete
        self._complete_epoch()
        self._epoch_lines.start_epoch()
        started = time.perf_counter()
        with progress_bar(len(train_data), f"epoch {epoch_idx + 1}", show_progress) as bar:

            def loss_unless_interrupted(interaction):
                if self._signal_received():
                    raise Interrupted(self.interruption_message())
                bar.update()
                return loss_func(interaction)

            try:
                loss = super()._train_epoch(train_data, epoch_idx, loss_unless_interrupted)
            except RuntimeError:
                # Another process stopped one batch earlier, and this one waited for its gradients in vain
                if self._signal_received():
                    raise Interrupted(self.interruption_message()) from None
                raise
        total = float(sum(loss) if isinstance(loss, tuple) else loss)
        self.history.append({"epoch": epoch_idx, "train_loss": total, "seconds": time.perf_counter() - started})
        return loss

    def _check_nan(self, loss):
        if torch.isnan(loss):
            raise UserError(
                f"the training loss of {self.config['model']} is NaN in epoch {len(self.history) + 1}; "
                "lower learning_rate or set clip_grad_norm"
            )

    def _valid_epoch(self, valid_data, show_progress=False):
        score, result = super()._valid_epoch(valid_data, show_progress)
        self.history[-1].update(valid_score=float(score), valid_result=_plain_metrics(result))
        if self.result_unseen:
            self.history[-1]["valid_result_unseen"] = self.result_unseen
        return score, result

    def _save_checkpoint(self, epoch, verbose=True, **kwargs):
        """Save the weights; RecBole calls it after an epoch that is the best so far."""
        if not is_main_process(self.config):
            return
        checkpoint.save_weights(self.model, Path(self.saved_model_file))
        if verbose:
            self.logger.info(f"Saved the best weights so far: {self.saved_model_file}")

    def _complete_epoch(self):
        self._epoch_lines.complete_epoch()
        self._save_state()

    def _save_state(self):
        if not self._saved:
            return
        random_states = checkpoint.gather_random_states(self._processes)
        if not is_main_process(self.config):
            return
        state = {
            "data_hash": self.data_hash,
            "processes": self._processes,
            "epoch": self.history[-1]["epoch"] if self.history else -1,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict() if self._scheduler else None,
            "cur_step": self.cur_step,
            "best_valid_score": float(self.best_valid_score),
            "best_valid_result": _plain_metrics(self.best_valid_result or {}),
            "random": random_states,
            "data_order": self._data_generator.get_state(),
            "history": self.history,
        }
        checkpoint.save_state(self.run_directory / STATE_FILE, state)

    def interruption_message(self) -> str:
        """Return what an interrupted run tells its user: how far it came, and how to go on."""
        if not is_main_process(self.config):
            return "interrupted"
        if self.run_directory is None:
            return "interrupted; this run is not saved and cannot be resumed"
        return f"interrupted after {count(len(self.history), 'epoch')}; resume it with --resume={self.run_directory}"

    def _map_reduce(self, result, num_sample):
        """Return the metrics as they are: the collector has gathered the users of all processes already."""
        return result

    def _load_weights(self, model_file: str | None) -> None:
        """Load weights in the main process and send them to the others."""
        if is_main_process(self.config):
            checkpoint.load_weights(self.model, model_file or self.saved_model_file)
        if is_distributed(self.config):
            for tensor in self.model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)


def _plain_metrics(result: dict) -> dict[str, float]:
    """Return metrics as Python numbers, which JSON and ``torch.load`` can hold."""
    return {name: float(value) for name, value in result.items()}
