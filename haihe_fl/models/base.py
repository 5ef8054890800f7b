"""The interface of a risk model."""

import hashlib
import importlib
import io
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.errors import IntegrityError

Floats = NDArray[np.float64]

FAMILIES = {"additive": "haihe_fl.models.additive", "neural": "haihe_fl.models.neural"}
"""Module of each family, imported when a model of it is first read."""


@dataclass(frozen=True)
class Term:
    """One term of a score: a feature, or a pair of features (columns of the catalogue)."""

    features: tuple[int, ...]


class RiskModel(ABC):
    """A trained model of the probability of default within 12 months.

    A model is plain arrays and JSON, never pickled code; two models with the same
    ``fingerprint`` give the same scores.

    Attributes
    ----------
    family : str
        Name of the model family, ``"additive"`` or ``"neural"``.
    catalogue : FeatureCatalogue
        Meaning of the input columns.
    """

    family: ClassVar[str]
    families: ClassVar[dict[str, type["RiskModel"]]] = {}
    catalogue: FeatureCatalogue

    def __init_subclass__(cls) -> None:
        RiskModel.families[cls.family] = cls

    @abstractmethod
    def logit(self, values: NDArray[np.float32]) -> Floats:
        """Return log-odds of default, shape (n,), for values of shape (n, d)."""

    @abstractmethod
    def terms(self) -> list[Term]:
        """Return the terms that ``contributions`` reports, in its column order."""

    @abstractmethod
    def contributions(self, values: NDArray[np.float32]) -> Floats:
        """Return each term's part of the log-odds, shape (n, len(terms)).

        A part is centred: it is relative to the term's average over the training
        population, so the sum over terms is the distance of the log-odds from ``base``.
        """

    @property
    @abstractmethod
    def base(self) -> float:
        """Log-odds of the average borrower."""

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what ``from_state`` needs beside the catalogue: JSON values and arrays."""

    @classmethod
    @abstractmethod
    def from_state(
        cls, catalogue: FeatureCatalogue, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        """Rebuild a model from ``state``."""

    def predict_pd(self, values: NDArray[np.float32]) -> Floats:
        """Return probabilities of default, shape (n,)."""
        return np.asarray(1.0 / (1.0 + np.exp(-self.logit(values))), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """Serialise to an ``.npz`` without pickled objects, the same bytes every time."""
        meta, arrays = self.state()
        header = {
            "family": self.family,
            "catalogue": self.catalogue.model_dump(mode="json"),
            "meta": meta,
        }
        text = json.dumps(header, sort_keys=True, ensure_ascii=False).encode()
        buffer = io.BytesIO()
        # np.savez stamps no time into the archive, so equal models give equal bytes.
        named: dict[str, Any] = {"__header__": np.frombuffer(text, dtype=np.uint8), **arrays}
        np.savez(buffer, allow_pickle=False, **dict(sorted(named.items())))
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> "RiskModel":
        """Rebuild a model of any family.

        Raises
        ------
        IntegrityError
            H5001 if the bytes are no model of this software.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            header = json.loads(arrays.pop("__header__").tobytes())
            family = header["family"]
            if family not in RiskModel.families:
                importlib.import_module(FAMILIES[family])
            cls = RiskModel.families[family]
            return cls.from_state(
                FeatureCatalogue.model_validate(header["catalogue"]), header["meta"], arrays
            )
        except Exception as error:
            raise IntegrityError(
                "H5001",
                en=f"this is no intact model file ({type(error).__name__}); fetch it again from "
                "the registry",
                zh=f"模型文件不完整或格式不符({type(error).__name__});请从模型库重新获取",
            ) from None

    def save(self, path: Path) -> None:
        """Write ``to_bytes`` to a file."""
        path.write_bytes(self.to_bytes())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the serialised model, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()
