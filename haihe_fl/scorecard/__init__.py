"""From a probability of default to a score and a band; the nine-factor score."""

from haihe_fl.scorecard.scale import Band, ScoreScale, load_scale
