"""What the secure sum has to know of the agreed quorum."""

from typing import Protocol


class Quorum(Protocol):
    """Agreed for a run; ``haihe_fl.privacy.noise.Quorum`` is one, and checks its numbers."""

    @property
    def parties(self) -> int:
        """Institutions in the run."""

    @property
    def minimum(self) -> int:
        """Least number of survivors of a release, and shares that open a self-mask."""
