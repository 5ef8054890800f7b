"""The ``haihe`` command, one module a command group."""
