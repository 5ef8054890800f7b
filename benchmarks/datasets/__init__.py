"""Mappings of public credit data sets, one YAML file each; the data are not in the repository."""
