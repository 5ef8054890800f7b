"""Haihe FL: federated, differentially private risk control for SME loans.

``haihe_fl`` is the domain library. It knows no network, no Flower and no web
framework; those live in ``clients``, ``server``, ``strategies`` and ``consortium``.
"""

__version__ = "0.1.0"
