"""The borrower record: feature catalogue, cohorts, readers, checks, synthetic consortium."""
