r"""DP-SGD for a stack of linear layers: Opacus' optimiser with our noise and a fast clip.

*Clipping.* The gradient of one record with respect to a linear layer is the outer product of
the backpropagated signal g and the input a, so its squared norm is |g|^2 (|a|^2 + 1), offset
included. One backward pass gives every a and g; clipped sums are then one matrix product a
layer, without a gradient per record and without Opacus' hooks (Goodfellow 2015). They equal
Opacus' own, as a test shows.

*Noise.* Opacus' ``secure_mode`` needs a package that is no longer kept up, and torch draws
from a Mersenne Twister. So the clipped sum is rounded to a grid of C 2^-24 and gets integer
noise from ``haihe_fl.privacy.noise`` (ChaCha20, keyed by the operating system). Rounding moves
the L2 sensitivity by at most one grid step an entry, and summing in double precision by much
less; ``SLACK`` covers both for up to 2^26 weights. So the accounting holds as stated, and the
low bits of floating-point noise give nothing away.

*Sampling.* Poisson, with a 64-bit draw from the operating system for each record.
"""

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import (  # type: ignore[import-untyped]
    DPOptimizerFastGradientClipping,
)
from torch import Tensor, nn

from haihe_fl.privacy.noise import NoiseSource

SLACK = 2.0**-10
"""Share by which the noise exceeds z C, for rounding."""
GRID = 2.0**-24
"""Step of the grid, in units of the clipping norm."""


def poisson_rows(
    records: int, rate: float, random_bytes: Callable[[int], bytes] = os.urandom
) -> NDArray[np.intp]:
    """Return the rows of a batch that each record joins on its own with the same probability.

    Examples
    --------
    >>> len(poisson_rows(5, 1.0)), len(poisson_rows(5, 1e-18))
    (5, 0)
    """
    if rate >= 1.0:
        return np.arange(records)
    draws = np.frombuffer(random_bytes(8 * records), dtype="<u8")
    return np.flatnonzero(draws < np.uint64(math.floor(rate * 2.0**64)))


class LayerTape:
    """Keeps the inputs and outputs of a network's linear layers during a forward pass."""

    def __init__(self, network: nn.Module) -> None:
        self.layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        self._seen: list[tuple[Tensor, Tensor]] = []
        for layer in self.layers:
            layer.register_forward_hook(self._keep)

    def _keep(self, _layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._seen.append((inputs[0].detach(), output))

    def take(self, loss: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (inputs, signals) of each layer for a loss summed over records, and forget."""
        seen, self._seen = self._seen, []
        if len(seen) != len(self.layers):
            raise RuntimeError(f"{len(seen)} layers passed forward, expected {len(self.layers)}")
        signals = torch.autograd.grad(loss, [output for _, output in seen])
        return [(inputs, signal) for (inputs, _), signal in zip(seen, signals, strict=True)]


class Descent:
    """Gradient descent with momentum, as ``torch.optim.SGD`` without its further options.

    That one loads torch's compiler at its first use, 20 MB that a node never runs. What
    Opacus' optimiser asks of an optimiser is here.

    Parameters
    ----------
    parameters : list of Parameter
        Their ``grad`` is what ``step`` follows.
    lr, momentum : float
        Learning rate; share of the last move that is kept.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.0) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"params": parameters, "lr": lr, "momentum": momentum}
        ]
        self.defaults = {"lr": lr, "momentum": momentum}
        self.state: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Move the parameters."""
        (group,) = self.param_groups
        for parameter in group["params"]:
            move = parameter.grad
            if group["momentum"]:
                if parameter in self.state:
                    move = self.state[parameter].mul_(group["momentum"]).add_(move)
                else:
                    move = move.clone()
                self.state[parameter] = move
            parameter.sub_(move, alpha=group["lr"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None


class PrivateOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]
    """Opacus' optimiser for clipped sums that come ready, block by block, with noise of our own.

    Parameters
    ----------
    optimizer : Descent or torch.optim.Optimizer
        Takes the step; its parameters are those of ``tape``'s layers, in order.
    tape : LayerTape
        Layers of the network.
    source : NoiseSource
        Noise of the process.
    **options
        ``noise_multiplier``, ``max_grad_norm`` and ``expected_batch_size``, as in Opacus. A
        noise multiplier of 0 adds no noise, and so gives no privacy: for tests only.
    """

    def __init__(
        self,
        optimizer: Descent | torch.optim.Optimizer,
        tape: LayerTape,
        source: NoiseSource,
        **options: Any,
    ) -> None:
        super().__init__(optimizer, **options)
        self._tape = tape
        self._source = source

    def private_step(self, loss: Tensor, *, last: bool = True) -> None:
        """Clip the gradients of a block of the batch; after the last block, noise and step.

        Blocks before the last are what Opacus calls skipped steps: their clipped sums add up,
        and noise comes once.

        Parameters
        ----------
        loss : Tensor
            Scalar: the sum over the block's records; an empty batch gives zero and counts.
        last : bool
            Whether the batch ends with this block.
        """
        layers = self._tape.take(loss)
        squares = [_square(g) * (_square(a) + 1) for a, g in layers]
        square = torch.stack(squares).sum(0)
        factor = (self.max_grad_norm / square.sqrt().clamp(min=1e-300)).clamp(max=1.0)[:, None]
        sums = [part for a, g in layers for part in ((factor * g).T @ a, (factor * g).sum(0))]
        for parameter, clipped in zip(self.params, sums, strict=True):
            parameter.grad = clipped
        self.signal_skip_step(do_skip=not last)
        self.step()

    def add_noise(self) -> None:
        """Put the clipped sums, rounded and with noise, where the optimiser reads them."""
        step = self.max_grad_norm * GRID
        sd = self.noise_multiplier * (1 + SLACK) / GRID
        for parameter in self.params:
            exact = np.rint(parameter.summed_grad.numpy() / step).astype(np.int64)
            if self.noise_multiplier > 0:
                exact += self._source.rounded_gaussian(sd, exact.size).reshape(exact.shape)
            parameter.grad = torch.from_numpy(exact * step)
            parameter.summed_grad = None


def _square(rows: Tensor) -> Tensor:
    """Return the squared norm of each row, without a second matrix of squares."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
