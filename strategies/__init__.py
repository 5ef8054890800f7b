"""Flower strategies: secure-sum training and neural averaging."""
