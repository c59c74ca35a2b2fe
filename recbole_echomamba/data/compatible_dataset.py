"""RecBole's sequential dataset with the same values under pandas 3 as under pandas 2.

RecBole fills a column with ``frame[field].fillna(..., inplace=True)``. Since pandas 3 that changes a copy: missing times, classes
and prices stay NaN, and an empty list cannot be split. It measures lists with ``frame[field].agg(len)``, which since pandas 3 is
the number of rows. The methods here replace those that do either.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from packaging.version import Version
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_echomamba.data.atomic_file import LazyTokenIds, number_tokens, read_header
from recbole_echomamba.system.errors import UserError

EMPTY_LIST = {FeatureType.TOKEN_SEQ: np.zeros(0, np.int64), FeatureType.FLOAT_SEQ: np.zeros(0, np.float64)}
"""What a missing list becomes: of ids, since tokens are numbered by then, or of numbers."""


class CompatibleDataset(SequentialDataset):
    """Read, fill, number and rescale columns as RecBole does under pandas 2.

    A missing token becomes the padding, a missing number the mean of its column, and a missing list an empty one.
    """

    def _get_preset(self):
        super()._get_preset()
        self.field2token_id = LazyTokenIds(self.field2id_token)

    def _load_feat(self, filepath, source):
        kinds = self._choose_columns(Path(filepath), source)
        if not any(kind.endswith("seq") for kind in kinds.values()):
            return super()._load_feat(filepath, source)
        types = {f"{name}:{kind}": np.float64 if kind == "float" else str for name, kind in kinds.items()}
        frame = pd.read_csv(
            filepath,
            delimiter=self.config["field_separator"],
            usecols=list(types),
            dtype=types,
            encoding=self.config["encoding"],
            engine="python",
        )
        frame.columns = list(kinds)
        for name, kind in kinds.items():
            self._register(name, kind, source)
            if kind.endswith("seq"):
                frame[name] = self._split_lists(name, frame[name])
        return frame

    def _choose_columns(self, file: Path, source) -> dict[str, str]:
        """Return the columns of a file that are loaded, each with its kind, in the order of the file."""
        loaded, not_loaded = self._get_load_and_unload_col(source)
        if loaded == set():
            return {}
        header = read_header(file, self.config["field_separator"], self.config["encoding"])
        return {
            name: kind
            for name, kind in header.items()
            if (loaded is None or name in loaded) and name not in (not_loaded or ())
        }

    def _register(self, name: str, kind: str, source: FeatureSource | str) -> None:
        """Record where a column comes from and what it holds, as RecBole does while it reads a file."""
        self.field2source[name], self.field2type[name] = source, FeatureType(kind)
        self.field2seqlen[name] = 1
        if kind.startswith("float"):
            self.field2bucketnum[name] = 2

    def _split_lists(self, name: str, texts: pd.Series) -> list[np.ndarray]:
        """Split the texts of a ``token_seq`` or ``float_seq`` column, cut them to ``seq_len``, and record the longest."""
        convert = str if self.field2type[name] == FeatureType.TOKEN_SEQ else float
        separator = self.config["seq_separator"]
        lists = [
            np.array([convert(word) for word in text.split(separator) if word], dtype=convert)
            for text in texts.fillna("").tolist()
        ]
        longest = max(map(len, lists))
        at_most = (self.config["seq_len"] or {}).get(name, longest)
        self.field2seqlen[name] = min(at_most, longest)
        return [each[:at_most] for each in lists]

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
            feat[field] = ids if kind == FeatureType.TOKEN else _split_like(feat[field], ids)

    def _fill_nan(self):
        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            for field in feat:
                missing = feat[field].isna()
                if missing.any():
                    feat[field] = self._fill_column(self.field2type[field], feat[field], missing)

    def _fill_column(self, kind: FeatureType, column: pd.Series, missing: pd.Series) -> pd.Series:
        if kind == FeatureType.TOKEN:
            return column.fillna(0)
        if kind == FeatureType.FLOAT:
            return column.fillna(column.mean())
        lists = [EMPTY_LIST[kind] if gone else each for each, gone in zip(column, missing, strict=True)]
        return pd.Series(lists, index=column.index)

    def _normalize(self):
        chosen = self.config["normalize_field"]
        if chosen is not None and self.config["normalize_all"]:
            raise UserError("normalize_field and normalize_all exclude each other; leave one of them out")
        for field in chosen or (self.float_like_fields if self.config["normalize_all"] else []):
            for feat in self.field2feats(field):
                if self.field2type[field] == FeatureType.FLOAT:
                    feat[field] = _rescale(feat[field].to_numpy())
                elif self.field2type[field] == FeatureType.FLOAT_SEQ:
                    feat[field] = _split_like(feat[field], _rescale(np.concatenate(feat[field].to_numpy())))

    def get_preload_weight(self, field):
        """Return RecBole's matrix of given embeddings in float32: with its float64, KSR cannot be trained."""
        return super().get_preload_weight(field).astype(np.float32)

    def _discretization(self):
        lists = [name for name in self.config["numerical_features"] if self.field2type[name] == FeatureType.FLOAT_SEQ]
        if lists and Version(pd.__version__) >= Version("3"):
            raise UserError(
                f"numerical_features names {lists[0]}, a list, which RecBole prepares with pandas 2 only; take it out, or "
                "install an older pandas: pip install 'pandas<3'"
            )
        super()._discretization()


def _rescale(values: np.ndarray) -> np.ndarray:
    """Map values linearly to 0 to 1, and equal values to 1."""
    low, high = values.min(), values.max()
    return np.ones_like(values) if low == high else (values - low) / (high - low)


def _split_like(lists: pd.Series, values: np.ndarray) -> list[np.ndarray]:
    """Split the values of all lists into lists of the lengths of ``lists``."""
    return np.split(values, np.cumsum([len(each) for each in lists])[:-1])


def make_compatible(dataset_class: type[SequentialDataset]) -> type[SequentialDataset]:
    """Return a class of RecBole's datasets that gives the same values under pandas 2 and 3."""
    return type(dataset_class.__name__, (CompatibleDataset, dataset_class), {"__module__": __name__})
