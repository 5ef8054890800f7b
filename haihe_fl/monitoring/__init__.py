"""Monitoring after the loan: indicators, alerts, and how good the warning is."""
