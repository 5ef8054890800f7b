"""Masked sums: keys, masks, shares, fixed-point encoding."""
