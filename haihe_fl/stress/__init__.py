"""Scenarios, PD paths, losses, expected credit loss."""
