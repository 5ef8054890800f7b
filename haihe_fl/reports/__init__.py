"""Self-contained bilingual reports."""
