"""The synthetic Tianjin consortium: the embedded default data set."""
