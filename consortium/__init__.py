"""A whole consortium: centre and institutions, in one process or on loopback."""
