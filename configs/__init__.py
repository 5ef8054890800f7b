"""Configuration as data: scenarios, feature catalogues, institutions, policies."""
