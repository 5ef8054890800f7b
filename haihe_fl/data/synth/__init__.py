"""The synthetic Tianjin consortium: the embedded default data set (seeded, any size)."""

from haihe_fl.data.synth.config import (
    Institution,
    categories,
    tianjin_catalogue,
    tianjin_institutions,
)
from haihe_fl.data.synth.consortium import Consortium, Enterprises, synthesise
from haihe_fl.data.synth.networks import GUARANTEES, Edges
from haihe_fl.data.synth.panel import Panel, Satellite
from haihe_fl.data.synth.storage import load
from haihe_fl.data.synth.truth import true_logit, true_pd
from haihe_fl.data.synth.uscc import is_uscc, make_usccs

__all__ = [
    "GUARANTEES",
    "Consortium",
    "Edges",
    "Enterprises",
    "Institution",
    "Panel",
    "Satellite",
    "categories",
    "is_uscc",
    "load",
    "make_usccs",
    "synthesise",
    "tianjin_catalogue",
    "tianjin_institutions",
    "true_logit",
    "true_pd",
]
