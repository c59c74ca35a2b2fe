"""RecBole's sequential dataset in flat columns: the same samples, batches and numbers in a fraction of the memory."""

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
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from recbole.utils.argument_list import dataset_arguments

from dataset_prep.words import count
from recbole_echomamba.data import cache
from recbole_echomamba.data.atomic_file import LazyTokenIds, keep_by_count, read_atomic_file
from recbole_echomamba.data.compatible_dataset import CompatibleDataset
from recbole_echomamba.data.samples import (
    DeferredSamples,
    ListedSamples,
    count_reordered_users,
    find_samples,
    iterate_blocks,
    split_leave_one_out,
)
from recbole_echomamba.data.windowed_interaction import WindowedInteraction
from recbole_echomamba.system.errors import UserError
from recbole_echomamba.system.files import sha256

MIN_CACHED_BYTES = 16 * 2**20
"""The smallest ``.inter`` file whose prepared columns are cached."""

HELD_OUT_PER_USER = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}
"""Leave-one-out mode to the number of samples of each user that are not for training."""

STORED_TYPES = {FeatureType.TOKEN: np.int32, FeatureType.FLOAT: np.float32}


class WindowedDataset(CompatibleDataset):
    """Read, filter, number and order interactions as RecBole does; samples are windows, see :class:`.WindowedInteraction`.

    The interactions are ordered by user and time. Times are compared as float32, as in RecBole, unless ``exact_time_order`` is
    set.

    Attributes:
        reordered_users: how many users have another last item than their exact times give.
        filtered_users: how many users of the file the filters have removed.
        users_without_known_items: how many further users :meth:`renumber` has left without an interaction.
        untrained_users: how many users :meth:`renumber` has removed, because they are not among the given ones.
    """

    filtered_users = 0
    users_without_known_items = 0
    untrained_users = 0

    def _from_scratch(self):
        self._get_preset()
        self._get_field_from_config()
        key = self._cache_key()
        cached = cache.load(self._inter_file, key) if key else None
        if cached:
            self._restore(*cached)
            return
        self._load_data(self.dataset_name, self.dataset_path)
        self._init_alias()
        self._data_processing()
        self._sort_interactions()
        if key and self.user_feat is None and self.item_feat is None:
            cache.store(self._inter_file, key, *self._cached_content())

    @property
    def _inter_file(self) -> Path:
        return Path(self.dataset_path) / f"{self.dataset_name}.inter"

    def _cache_key(self) -> str | None:
        """Return a hash of the file and of the settings of the preparation, or None where nothing is cached."""
        if not self.config["data_cache"] or self._inter_file.stat().st_size < MIN_CACHED_BYTES:
            return None
        settings = {name: self.config[name] for name in [*dataset_arguments, "encoding", "exact_time_order"]}
        # windows are cut later
        settings.pop("MAX_ITEM_LIST_LENGTH", None)
        text = json.dumps([sha256(self._inter_file), settings], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _cached_content(self) -> tuple[dict[str, np.ndarray], dict]:
        """Return the arrays and facts that :meth:`_restore` needs."""
        arrays = {f"column.{name}": self.inter_feat[name].to_numpy() for name in self.inter_feat}
        arrays.update({f"texts.{name}": texts for name, texts in self.field2id_token.items()})
        types = {name: [self.field2type[name].value, self.field2source[name].value] for name in self.inter_feat}
        return arrays, {"types": types, "reordered": self.reordered_users, "filtered": self.filtered_users}

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
        self.filtered_users = facts["filtered"]

    def _load_feat(self, filepath, source):
        kinds = self._choose_columns(Path(filepath), source)
        if source != FeatureSource.INTERACTION or not kinds or not set(kinds.values()) <= {"token", "float"}:
            return super()._load_feat(filepath, source)
        for name, kind in kinds.items():
            self._register(name, kind, source)
        separator, encoding = self.config["field_separator"], self.config["encoding"]
        frame = read_atomic_file(Path(filepath), separator, encoding, kinds)
        self._warn_of_missing_times(frame)
        return frame

    def _warn_of_missing_times(self, frame: pd.DataFrame) -> None:
        if self.time_field not in frame:
            return
        missing = ~np.isfinite(frame[self.time_field].to_numpy())
        if missing.any():
            self.logger.warning(
                "%s: %s no finite %s (%s) and get the mean, as in RecBole",
                self._inter_file,
                count(missing.sum(), "row has", "rows have"),
                self.time_field,
                _list_lines(missing),
            )

    def _data_filtering(self):
        users = self.inter_feat[self.uid_field].nunique()
        super()._data_filtering()
        self.filtered_users = users - self.inter_feat[self.uid_field].nunique()

    def _filter_nan_user_or_item(self):
        """Remove rows without a user or an item.

        RecBole's own code takes labels for positions, and keeps rows when users are missing as well as items.
        """
        both = [self.uid_field, self.iid_field]
        for ending, fields in (("user", [self.uid_field]), ("item", [self.iid_field]), ("inter", both)):
            feat = getattr(self, f"{ending}_feat")
            if feat is None:
                continue
            missing = feat[fields].isnull().any(axis=1).to_numpy()
            if not missing.any():
                continue
            self.logger.warning(
                "%s.%s: %s without %s left out (%s); empty fields, NA, null, None and the like count as missing",
                self.dataset_name,
                ending,
                count(missing.sum(), "row"),
                " or ".join(fields),
                _list_lines(missing),
            )
            setattr(self, f"{ending}_feat", feat[~missing].reset_index(drop=True))

    def _filter_by_inter_num(self):
        intervals = [self._parse_intervals_str(self.config[f"{kind}_inter_num_interval"]) for kind in ("user", "item")]
        if not any(intervals):
            return
        fields = (self.uid_field, self.iid_field)
        for field in fields:
            self.inter_feat[field] = self.inter_feat[field].astype("category")
        tests = [functools.partial(self._are_allowed, intervals=each) for each in intervals]
        kept, counts, removed = keep_by_count(self.inter_feat, fields, tests)
        for column, (field, feat_name) in enumerate(zip(fields, ("user_feat", "item_feat"), strict=True)):
            if getattr(self, feat_name) is not None and intervals[column]:
                self._filter_features(feat_name, field, intervals[column], counts[column], removed[column])
        if not kept.all():
            self.inter_feat = self.inter_feat[kept]

    def _are_allowed(self, counts: np.ndarray, intervals: list | None) -> np.ndarray:
        return self._within_intervals(counts, intervals) if intervals else np.ones(len(counts), bool)

    def _filter_features(self, feat_name, field, intervals, counts, removed) -> None:
        """Remove users or items from the table of their features, as RecBole does: by the first interval's lower end."""
        least = intervals[0][1]
        stays = (counts >= least) & ~removed
        stays_by_text = dict(zip(self.inter_feat[field].cat.categories, stays, strict=True))
        stays_without_interactions = least <= 0
        feat = getattr(self, feat_name)
        setattr(self, feat_name, feat[[stays_by_text.get(text, stays_without_interactions) for text in feat[field]]])

    def _sort_interactions(self) -> None:
        """Sort by user and time, with rows of equal time in the order of the file, and narrow ids and floats to 32 bits."""
        columns = {name: self.inter_feat.pop(name).to_numpy() for name in list(self.inter_feat)}
        user, time = columns[self.uid_field], columns[self.time_field]
        order = np.lexsort((time if self.config["exact_time_order"] else time.astype(np.float32), user))
        self.reordered_users = count_reordered_users(user[order], time[order])
        del user, time
        # each unsorted column is released before the next is sorted, so that only one exists twice
        for name in columns:
            columns[name] = columns[name].astype(STORED_TYPES[self.field2type[name]], copy=False)[order]
        self.inter_feat = pd.DataFrame(columns, copy=False)

    def renumber(self, texts: dict[str, np.ndarray], keep_new_items: bool = False, keep_new_users: bool = True) -> int:
        """Number users and items by given texts, before :meth:`build`.

        Other users are numbered after the given ones, or removed; interactions with other items are removed, or these too are
        numbered.

        Args:
            texts: for the user and the item field, the texts by id, ``[PAD]`` first.
            keep_new_items: whether to number other items.
            keep_new_users: whether to number other users.

        Returns:
            The number of interactions removed because of their items.
        """
        columns = {name: self.inter_feat[name].to_numpy() for name in self.inter_feat}
        n_users = len(np.unique(columns[self.uid_field]))
        for field in (self.uid_field, self.iid_field):
            own = self.field2id_token[field]
            number_of = pd.Index(texts[field]).get_indexer(own)
            self.field2id_token[field] = texts[field]
            if keep_new_users if field == self.uid_field else keep_new_items:
                new = number_of < 0
                number_of[new] = len(texts[field]) + np.arange(new.sum())
                self.field2id_token[field] = np.concatenate([texts[field], own[new]])
            columns[field] = number_of.astype(np.int32)[columns[field]]
        self.field2token_id = LazyTokenIds(self.field2id_token)
        users, has_known_item = columns[self.uid_field], columns[self.iid_field] >= 0
        is_trained = users >= 0
        known = np.flatnonzero(has_known_item & is_trained)
        rows = known[np.argsort(users[known], kind="stable")]
        removed = int((~has_known_item).sum())
        self.untrained_users = n_users - len(np.unique(users[is_trained]))
        self.users_without_known_items = len(np.unique(users[is_trained])) - len(np.unique(users[rows]))
        self.inter_feat = pd.DataFrame({name: column[rows] for name, column in columns.items()}, copy=False)
        return removed

    def _change_feat_format(self):
        for name in self.feat_name_list:
            if name != "inter_feat":
                setattr(self, name, self._dataframe_to_interaction(getattr(self, name)))
        self._aug_presets()
        with warnings.catch_warnings():
            # columns from the cache are memory maps, which are only read
            warnings.filterwarnings("ignore", message=".*not writable.*")
            flat = {name: torch.from_numpy(self.inter_feat[name].to_numpy()) for name in self.inter_feat}
        samples = find_samples(flat[self.uid_field].numpy(), self.max_item_list_len)
        lists = {name: getattr(self, f"{name}_list_field") for name in flat if name != self.uid_field}
        self.inter_feat = WindowedInteraction(flat, samples, lists, self.item_list_length_field, self.max_item_list_len)

    def build(self):
        """Split into RecBole's ``train, valid, test`` parts; leave-one-out lists no samples."""
        evaluation = self.config["eval_args"]
        mode = evaluation["split"].get("LS")
        if mode not in HELD_OUT_PER_USER or evaluation["order"] != "TO":
            return super().build()
        self._change_feat_format()
        self._drop_unused_col()
        whole = self.inter_feat
        time = whole.flat[self.time_field].numpy()
        parts = [whole.with_samples(part) for part in split_leave_one_out(whole.samples, time, HELD_OUT_PER_USER[mode])]
        if mode == "valid_only":
            parts.append(whole[:0])
        elif mode == "test_only":
            parts.insert(1, whole[:0])
        built = [self.copy(part) for part in parts]
        # RecBole leaves the whole dataset in the order of time, in which samplers by popularity and few others read it
        in_time = DeferredSamples(len(whole), functools.partial(_sort_samples, whole, self.time_field))
        self.inter_feat = whole.with_samples(in_time)
        return built

    def _grouped_index(self, group_by_list):
        group, _ = pd.factorize(group_by_list)
        order = np.argsort(group, kind="stable")
        return np.split(order, np.cumsum(np.bincount(group))[:-1])

    def __getitem__(self, index, join=True) -> Interaction:
        """Return the samples of ``index`` with their windows."""
        samples = self.inter_feat.cut(index)
        return self.join(samples) if join else samples

    def counter(self, field) -> Counter:
        """Count how often each id occurs; after :meth:`build`, how often it is the target of a sample."""
        if self.field2type.get(field) != FeatureType.TOKEN:
            raise UserError(f"{field} is not a token field of the interactions")
        counts = self._count_ids(field)
        ids = np.flatnonzero(counts)
        return Counter(dict(zip(ids.tolist(), counts[ids].tolist(), strict=True)))

    def _count_ids(self, field: str) -> np.ndarray:
        counts = np.zeros(self.num(field), np.int64)
        for block in iterate_blocks(len(self.inter_feat)):
            counts += np.bincount(np.asarray(self.inter_feat[block][field]), minlength=len(counts))
        return counts

    @property
    def avg_actions_of_users(self) -> float:
        """The mean number of interactions of a user."""
        return self.inter_num / np.count_nonzero(self._count_ids(self.uid_field))

    @property
    def avg_actions_of_items(self) -> float:
        """The mean number of interactions of an item."""
        return self.inter_num / np.count_nonzero(self._count_ids(self.iid_field))

    def inter_matrix(self, form="coo", value_field=None):
        """Return a sparse matrix, users by items, of all targets and of each user's first item, which is no target."""
        samples = self.inter_feat
        targets, lengths = samples.samples.read(slice(None))
        firsts = targets[lengths == 1] - 1
        columns = {
            name: torch.cat([samples[name], values[firsts].to(samples[name].dtype)])
            for name, values in samples.flat.items()
        }
        return self._create_sparse_matrix(Interaction(columns), self.uid_field, self.iid_field, form, value_field)


def _sort_samples(data: WindowedInteraction, field: str) -> ListedSamples:
    """List samples in the order of a field; equal values keep their order."""
    return data.samples.select(torch.from_numpy(np.argsort(data[field].numpy(), kind="stable")))


def _list_lines(marked: np.ndarray) -> str:
    """Return the line numbers in the file of the first rows that are marked; row 0 is line 2."""
    lines = ", ".join(str(row + 2) for row in np.flatnonzero(marked)[:5])
    return f"lines {lines} ..." if marked.sum() > 5 else f"lines {lines}"
