"""Budgets, accountants, noise and the ledger."""
