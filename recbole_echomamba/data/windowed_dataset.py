"""RecBole's sequential data set, held in flat columns: the same samples, batches and numbers in a fraction of the memory."""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from recbole.utils.argument_list import dataset_arguments

from recbole_echomamba.data import cache
from recbole_echomamba.data.atomic_file import LazyTokenIds, keep_by_count, number_tokens, read_atomic_file
from recbole_echomamba.data.windowed_interaction import WindowedInteraction, leave_out, run_starts, windows
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256

MIN_CACHED_BYTES = 16 * 2**20
"""Bytes of an ``.inter`` file from which the prepared columns are worth keeping."""

HELD_OUT_PER_USER = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}


class WindowedDataset(SequentialDataset):
    """Reads, filters, numbers and orders interactions as RecBole does; samples are windows, see :mod:`.windows`.

    The interactions are ordered by user and time. Times count as float32, as in RecBole, unless ``exact_time_order`` is set.
    """

    def _from_scratch(self):
        self._get_preset()
        self._get_field_from_config()
        key = self._cache_key()
        kept = cache.load(self._file, key) if key else None
        if kept:
            self._restore(*kept)
            return
        self._load_data(self.dataset_name, self.dataset_path)
        self._init_alias()
        self._data_processing()
        self._order()
        if key and self.user_feat is None and self.item_feat is None:
            cache.store(self._file, key, *self._facts())

    def _get_preset(self):
        super()._get_preset()
        self.field2token_id = LazyTokenIds(self.field2id_token)

    @property
    def _file(self) -> Path:
        return Path(self.dataset_path) / f"{self.dataset_name}.inter"

    def _cache_key(self) -> str | None:
        if not self.config["data_cache"] or self._file.stat().st_size < MIN_CACHED_BYTES:
            return None
        settings = {name: self.config[name] for name in [*dataset_arguments, "encoding", "exact_time_order"]}
        settings.pop("MAX_ITEM_LIST_LENGTH", None)
        text = json.dumps([sha256(self._file), settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _facts(self) -> tuple[dict[str, np.ndarray], dict]:
        arrays = {f"column.{name}": self.inter_feat[name].to_numpy() for name in self.inter_feat}
        arrays.update({f"texts.{name}": texts for name, texts in self.field2id_token.items()})
        types = {name: [self.field2type[name].value, self.field2source[name].value] for name in self.inter_feat}
        return arrays, {"types": types, "reordered": self.reordered_users}

    def _restore(self, arrays: dict[str, np.ndarray], facts: dict) -> None:
        columns = {}
        for name, (kind, source) in facts["types"].items():
            self.field2type[name], self.field2source[name] = FeatureType(kind), FeatureSource(source)
            self.field2seqlen[name] = 1
            if f"texts.{name}" in arrays:
                self.field2id_token[name] = np.asarray(arrays[f"texts.{name}"])
            else:
                self.field2bucketnum[name] = 2
            columns[name] = arrays[f"column.{name}"]
        self.inter_feat = pd.DataFrame(columns, copy=False)
        self.user_feat = self.item_feat = None
        self._init_alias()
        self.feat_name_list = self._build_feat_name_list()
        self.reordered_users = facts["reordered"]
        self._warn_of_order()

    def _load_feat(self, filepath, source):
        separator, encoding = self.config["field_separator"], self.config["encoding"] or "utf-8"
        with open(filepath, encoding=encoding) as lines:
            header = lines.readline().rstrip("\r\n").split(separator)
        wanted, unwanted = self._get_load_and_unload_col(source)
        kinds = {}
        for entry in header:
            field, _, kind = entry.partition(":")
            if (wanted is None or field in wanted) and field not in (unwanted or ()):
                kinds[entry] = kind
        if source != FeatureSource.INTERACTION or not set(kinds.values()) <= {"token", "float"}:
            return super()._load_feat(filepath, source)
        for entry, kind in kinds.items():
            field = entry.partition(":")[0]
            self.field2source[field], self.field2type[field] = source, FeatureType(kind)
            self.field2seqlen[field] = 1
            if kind == "float":
                self.field2bucketnum[field] = 2
        frame = read_atomic_file(Path(filepath), separator, encoding, kinds)
        if self.time_field in frame and (unset := ~np.isfinite(frame[self.time_field].to_numpy())).any():
            lines = ", ".join(map(str, np.flatnonzero(unset)[:5] + 2))
            self.logger.warning(
                "%s: %d rows have no finite %s (lines %s ...) and get the mean, as in RecBole",
                *(filepath, unset.sum(), self.time_field, lines),
            )
        return frame

    def _filter_nan_user_or_item(self):
        """As RecBole means it: its own code takes labels for positions, and keeps rows when both ids are missing somewhere."""
        for name, fields in (
            ("user_feat", [self.uid_field]),
            ("item_feat", [self.iid_field]),
            ("inter_feat", [self.uid_field, self.iid_field]),
        ):
            feat = getattr(self, name)
            missing = None if feat is None else feat[fields].isnull().any(axis=1).to_numpy()
            if missing is not None and missing.any():
                lines = ", ".join(map(str, np.flatnonzero(missing)[:5] + 2))
                self.logger.warning(
                    "%s: %d rows without %s are left out (lines %s ...); empty fields, NA, null, None and the like mean missing",
                    *(name, missing.sum(), " or ".join(fields), lines),
                )
                setattr(self, name, feat[~missing].reset_index(drop=True))

    def _filter_by_inter_num(self):
        intervals = [self._parse_intervals_str(self.config[f"{kind}_inter_num_interval"]) for kind in ("user", "item")]
        if intervals == [None, None]:
            return
        for field in (self.uid_field, self.iid_field):
            self.inter_feat[field] = self.inter_feat[field].astype("category")
        allowed = [
            functools.partial(self._within_intervals, intervals=given) if given else lambda count: count >= 0
            for given in intervals
        ]
        kept, *outcome = keep_by_count(self.inter_feat, (self.uid_field, self.iid_field), allowed)
        names = ((self.uid_field, "user_feat"), (self.iid_field, "item_feat"))
        for (field, feat_name), given, counts, refused in zip(names, intervals, *outcome, strict=True):
            feat = getattr(self, feat_name)
            if feat is not None and given:
                stays = (counts >= given[0][1]) & ~refused
                known = dict(zip(self.inter_feat[field].cat.categories, stays, strict=True))
                absent = given[0][1] <= 0  # a user or item without interactions
                setattr(self, feat_name, feat[[known.get(text, absent) for text in feat[field]]])
        if not kept.all():
            self.inter_feat = self.inter_feat[kept]

    def _remap(self, remap_list):
        if not remap_list:
            return
        columns = [
            feat[field].values if kind == FeatureType.TOKEN else np.concatenate(feat[field].values)
            for feat, field, kind in remap_list
        ]
        numbered, texts = number_tokens(columns)
        for (feat, field, kind), ids in zip(remap_list, numbered, strict=True):
            if field not in self.field2id_token:
                self.field2id_token[field] = texts
            if kind == FeatureType.TOKEN:
                feat[field] = ids
            else:
                feat[field] = np.split(ids, np.cumsum([len(row) for row in feat[field]])[:-1])

    def _order(self) -> None:
        """Sort by user and time, rows of equal time in the order of the file."""
        frame = self.inter_feat
        user, time = frame[self.uid_field].to_numpy(), frame[self.time_field].to_numpy()
        order = np.lexsort((time if self.config["exact_time_order"] else time.astype(np.float32), user))
        self.reordered_users = _users_with_another_last_row(user[order], time[order])
        narrow = {FeatureType.TOKEN: np.int32, FeatureType.FLOAT: np.float32}
        columns = {name: frame[name].to_numpy()[order].astype(narrow[self.field2type[name]]) for name in frame}
        self.inter_feat = pd.DataFrame(columns, copy=False)
        self._warn_of_order()

    def _warn_of_order(self) -> None:
        if self.reordered_users:
            self.logger.warning(
                "%d users have another last item than their exact times give: RecBole rounds times to float32, and rows of one "
                "rounded time keep the order of the file. Published figures contain this; exact_time_order=True sorts exactly",
                self.reordered_users,
            )

    def renumber(self, texts: dict[str, np.ndarray]) -> int:
        """Number users and items as ``texts``, by field, does; before :meth:`build`.

        Interactions with items that are not in it are left out, and counted in the answer; further users come after the others.
        """
        columns = {name: self.inter_feat[name].to_numpy() for name in self.inter_feat}
        for field in (self.uid_field, self.iid_field):
            own = self.field2id_token[field]
            number_of = pd.Index(texts[field]).get_indexer(own)
            self.field2id_token[field] = texts[field]
            if field == self.uid_field:
                new = number_of < 0
                number_of[new] = len(texts[field]) + np.arange(new.sum())
                self.field2id_token[field] = np.concatenate([texts[field], own[new]])
            columns[field] = number_of.astype(np.int32)[columns[field]]
        self.field2token_id = LazyTokenIds(self.field2id_token)
        known = np.flatnonzero(columns[self.iid_field] >= 0)
        rows = known[np.argsort(columns[self.uid_field][known], kind="stable")]
        left_out = len(self.inter_feat) - len(rows)
        self.inter_feat = pd.DataFrame({name: column[rows] for name, column in columns.items()}, copy=False)
        return left_out

    def _change_feat_format(self):
        for name in self.feat_name_list:
            if name != "inter_feat":
                setattr(self, name, self._dataframe_to_interaction(getattr(self, name)))
        self._aug_presets()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # a memory map is only read
            flat = {name: torch.from_numpy(self.inter_feat[name].to_numpy()) for name in self.inter_feat}
        targets, lengths = windows(flat[self.uid_field].numpy(), self.max_item_list_len)
        lists = {name: getattr(self, f"{name}_list_field") for name in flat if name != self.uid_field}
        self.inter_feat = WindowedInteraction(
            flat, targets, lengths, lists, self.item_list_length_field, self.max_item_list_len
        )

    def build(self):
        """RecBole's ``train, valid, test`` parts; leave-one-out without a list of row numbers per user."""
        evaluation = self.config["eval_args"]
        mode = evaluation["split"].get("LS") if isinstance(evaluation["split"], dict) else None
        if mode not in HELD_OUT_PER_USER or evaluation["order"] != "TO":
            return super().build()
        self._change_feat_format()
        self._drop_unused_col()
        samples = self.inter_feat
        parts = leave_out(samples[self.uid_field], samples[self.time_field], HELD_OUT_PER_USER[mode])
        nothing = np.zeros(0, np.int64)
        parts = {"valid_only": [*parts, nothing], "test_only": [parts[0], nothing, parts[-1]]}.get(mode, parts)
        built = [self.copy(samples[part]) for part in parts]
        self.sort(by=self.time_field)  # as RecBole leaves the whole data set
        return built

    def _grouped_index(self, group_by_list):
        group, _ = pd.factorize(group_by_list)
        order = np.argsort(group, kind="stable")
        return np.split(order, np.cumsum(np.bincount(group))[:-1])

    def __getitem__(self, index, join=True) -> Interaction:
        """The samples of ``index``, their windows cut out."""
        samples = self.inter_feat.cut(index)
        return self.join(samples) if join else samples

    def counter(self, field) -> Counter:
        """How often each id occurs; of samples, how often it is the target."""
        if self.field2type.get(field) != FeatureType.TOKEN:
            raise UserError(f"Field [{field}] is not a token field of the interactions.")
        ids, counts = np.unique(np.asarray(self.inter_feat[field]), return_counts=True)
        return Counter(dict(zip(ids.tolist(), counts.tolist(), strict=True)))

    @property
    def avg_actions_of_users(self) -> float:
        """Interactions per user."""
        return self.inter_num / len(np.unique(np.asarray(self.inter_feat[self.uid_field])))

    @property
    def avg_actions_of_items(self) -> float:
        """Interactions per item."""
        return self.inter_num / len(np.unique(np.asarray(self.inter_feat[self.iid_field])))

    def inter_matrix(self, form="coo", value_field=None):
        """Users by items, sparse: every sample's target, and the first item of each user, who is no target."""
        samples = self.inter_feat
        firsts = (samples.targets - samples.lengths).long()[samples.lengths == 1]
        columns = {
            name: torch.cat([samples[name], values[firsts].to(samples[name].dtype)])
            for name, values in samples.flat.items()
        }
        return self._create_sparse_matrix(Interaction(columns), self.uid_field, self.iid_field, form, value_field)


def _users_with_another_last_row(user: np.ndarray, time: np.ndarray) -> int:
    """Of rows ordered by user: how many users do not end with the row their exact times put last."""
    starts = run_starts(user)
    ends = np.append(starts[1:], len(user))
    if not ((time[1:] < time[:-1]) & (user[1:] == user[:-1])).any():
        return 0
    latest = np.repeat(np.maximum.reduceat(time, starts), ends - starts)
    last = np.maximum.reduceat(np.where(time == latest, np.arange(len(time)), -1), starts)
    return int((last != ends - 1).sum())
