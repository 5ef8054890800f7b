"""AUC, KS, PR, calibration, PSI: from scores, or from summed histograms."""
