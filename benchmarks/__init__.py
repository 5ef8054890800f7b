"""Every published figure comes from a command in this package."""
