"""Shapes and pairs of an additive model, put into the words of the report."""

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature
from haihe_fl.data.titles import value_title
from haihe_fl.i18n import Text
from haihe_fl.models.additive import AdditiveModel
from haihe_fl.models.binning import number_columns
from haihe_fl.reports.results import FeatureShape, Label, PairShape, Tick
from haihe_fl.reports.shape_charts import MISSING
from haihe_fl.reports.units import tick_labels

SHOWN_PAIRS = 6
MOST_EDGES = 3


def feature_title(feature: Feature) -> Label:
    """Return what a feature is called."""
    return feature.title or feature.name


def feature_shapes(model: AdditiveModel) -> tuple[FeatureShape, ...]:
    """Return every feature's effect, the most important first."""
    found = []
    for j, feature in enumerate(model.catalogue.features):
        shape = model.shape(j)
        weight = np.maximum(shape.weights, 0.0)
        total = weight.sum()
        importance = float((np.abs(shape.values) * weight).sum() / total) if total > 0 else 0.0
        found.append(
            FeatureShape(
                feature_title(feature),
                importance,
                tuple(shape.values.tolist()),
                None if shape.edges is None else tuple(shape.edges.tolist()),
                None
                if shape.categories is None
                else tuple(value_title(feature.name, c) for c in shape.categories),
                shape.missing,
                feature.unit,
            )
        )
    return tuple(sorted(found, key=lambda shape: -shape.importance))


def pair_shapes(model: AdditiveModel) -> tuple[PairShape, ...]:
    """Return the most important pairs; cells that no bin belongs to are left out."""
    side = round(model.tables.cells.shape[1] ** 0.5)
    found = []
    for (a, b), cells in zip(model.tables.pairs, model.tables.cells, strict=True):
        rows, y_ticks = _side(model, int(a))
        columns, x_ticks = _side(model, int(b))
        values = cells.reshape(side, side)[np.ix_(rows, columns)]
        found.append(
            PairShape(
                x=feature_title(model.catalogue.features[int(b)]),
                y=feature_title(model.catalogue.features[int(a)]),
                importance=float(np.abs(values).mean()),
                values=tuple(map(tuple, values.tolist())),
                x_ticks=x_ticks,
                y_ticks=y_ticks,
            )
        )
    return tuple(sorted(found, key=lambda pair: -pair.importance)[:SHOWN_PAIRS])


def _side(model: AdditiveModel, j: int) -> tuple[NDArray[np.intp], tuple[Tick, ...]]:
    """Return the groups in use along feature j, and the ticks: edges, or names of categories."""
    tables, feature = model.tables, model.catalogue.features[j]
    groups = tables.groups[tables.part(j)][: tables.binning.used()[j]]
    used = np.unique(groups)
    place = np.searchsorted(used, groups)  # of each bin among the groups in use
    alone = bool((place[0] != place[1:]).all())
    ticks = [Tick(place[0] + 0.5, MISSING)] if alone else []
    if feature.kind == "number":
        return used, (*ticks, *_edges(model, j, place))
    levels = tables.binning.levels[tables.binning.level_slices()[j]]
    for group in range(len(used)):
        names = [
            value_title(feature.name, name)
            for name, level in zip(feature.categories or (), levels, strict=True)
            if place[level] == group
        ]
        if names:
            text = Text(en=", ".join(n.en for n in names), zh="、".join(n.zh for n in names))
            ticks.append(Tick(group + 0.5, text))
    return used, tuple(sorted(ticks, key=lambda tick: tick.at))


def _edges(model: AdditiveModel, j: int, place: NDArray[np.intp]) -> list[Tick]:
    """Return ticks at the cut points between groups: bin b begins at cut b - 2."""
    cuts = model.tables.binning.cuts[number_columns(model.catalogue).index(j)]
    starts = [b for b in range(2, len(place)) if place[b] != place[b - 1]]
    if len(starts) > MOST_EDGES:
        picks = np.unique(np.linspace(0, len(starts) - 1, MOST_EDGES).round().astype(int))
        starts = [starts[k] for k in picks]
    unit = model.catalogue.features[j].unit
    edges = [float(cuts[b - 2]) for b in starts]
    texts = [Text(en=e, zh=z) for e, z in zip(
        tick_labels(edges, unit, "en"), tick_labels(edges, unit, "zh"), strict=True
    )]  # fmt: skip
    return [Tick(float(place[b]), text) for b, text in zip(starts, texts, strict=True)]
