"""How good a model is: exactly on records, or from noisy sums."""
