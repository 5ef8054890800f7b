"""Risk models: one interface, an additive (flagship) and a neural family."""
