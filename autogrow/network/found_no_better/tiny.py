"""New units that add what the present ones cannot express: TINY, Verbockhaven et al. 2024 (arXiv 2405.19816).

For every weight that reads a group (a reader), with x what it reads and z what it computes from it, per example and
position:

    v = -dloss/dz                           how the loss wants z to change
    r = v - B x, B = argmin E||v - B x||^2  the bottleneck: what no change of the reader's present weights gives
    V = (D S^-1 D^T)^(-1/2) D S^-1          fan-in: the rows nearest to D with V S V^T = 1, where S = E[y y^T] of what
                                            the fan-in reads and D = dE<r, z>/dV, by `subspace_iteration`
    Z = argmin E||r - Z h||^2               fan-out: least squares on h, what the new units really compute

In the paper, V are the right singular vectors of E[r y^T] S^(-1/2), times S^(-1/2), which is the same where the network
is linear in between, and Z comes from the same decomposition. Rows of V get the usual norm of the group's rows.

Z is then scaled by the first of the steps scale / 2^i behind which the loss falls no further. The paper changes the
present weights by B at the same time; here training does, and without that change Z can raise the loss while they are
far from their best. Where no step lowers the loss, Z is fitted to v instead of r, a direction of descent; where that
does not help either, the units stay as they were drawn, with a fan-out of zero. The paper puts sqrt(step) on either
side; all of it on Z scales what the units add whatever lies in between. Groups are fitted one after the other, in the
network's order.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from autogrow.network.found_no_better.layer_regression import (
    LayerBlock,
    Moments,
    layer_blocks,
    moments,
    predictions,
    recorded_calls,
    total,
)
from autogrow.network.growable import LossOf
from autogrow.network.new_units.grown_twin import GrownTwin, scalar
from autogrow.network.new_units.subspace_iteration import Rows, SubspaceIteration, orthonormal_rows
from autogrow.network.new_units.unit_blocks import UnitBlocks
from autogrow.network.running.layer_hooks import OnCall, hooked
from autogrow.network.running.model_input import ModelInput
from autogrow.network.running.undisturbed import undisturbed
from autogrow.policy.initializations import Tiny

ROUNDS = 2
"""Of subspace iteration."""


def fit_tiny(twin: GrownTwin, settings: Tiny, loss: LossOf, calibration_input: ModelInput | None) -> None:
    """Leaves the fitted fan-in and fan-out in the copy, or what was drawn where no step lowers the loss.

    Of weights that least squares cannot be done on, the fan-in stays as drawn and the fan-out zero.
    """
    twin.measure_statistics(calibration_input)
    for group in twin.groups:
        fit = _Fit(twin, group, loss)
        if not fit.find_bottleneck():
            continue
        before, drawn = twin.loss(loss), [block.read(twin.tensors[block.name]) for block in group.fan_in]
        fit.turn_fan_in()
        twin.measure_statistics(calibration_input)
        if not fit.set_fan_out(settings, before):
            for block, rows in zip(group.fan_in, drawn, strict=True):
                block.write(twin.tensors[block.name], rows)
            twin.measure_statistics(calibration_input)


class _Fit:
    """The fit of one group's new units."""

    def __init__(self, twin: GrownTwin, group: UnitBlocks, loss: LossOf) -> None:
        self._twin = twin
        self._group = group
        self._loss = loss
        self._producers = layer_blocks(twin.module, group.fan_in)
        self._readers = layer_blocks(twin.module, group.fan_out)
        self._desired: list[list[Tensor]] = []
        """v of every reader and call of it, (examples, *positions, old units)."""
        self._bottlenecks: list[list[Tensor]] = []
        """r of the same."""
        self._roots: list[Tensor] = []
        """The Cholesky factor of S of every producer."""

    def find_bottleneck(self) -> bool:
        """One pass with the real loss. False where nothing that reads the group can be fitted."""
        layers = [entry.layer for entry in (*self._readers, *self._producers)]
        updates: Iterator[Tensor] = iter(())
        with recorded_calls(layers) as calls, self._twin.differentiable(entry.block.name for entry in self._readers):
            value = self._loss(self._twin.module)
            # A layer whose weight is used without calling it, or in a backward pass of its own, stays unseen.
            used = [entry for entry in self._readers if any(made.requires_grad for _, made in calls[entry.layer])]
            if used:
                updates = iter(_desired_updates(value, [made for entry in used for _, made in calls[entry.layer]]))
        self._readers = used
        self._producers = [entry for entry in self._producers if used and calls[entry.layer]]
        for reader in self._readers:
            read = [reader.old_inputs(inputs) for inputs, _ in calls[reader.layer]]
            desired = [reader.old_outputs(next(updates)) for _ in read]
            self._desired.append(desired)
            self._bottlenecks.append(_unexplained(reader, read, desired))
        for producer in self._producers:
            pairs = [(producer.old_inputs(read), producer.old_outputs(made)) for read, made in calls[producer.layer]]
            seen = total(moments(producer.layer, read, made.detach()[..., :0]) for read, made in pairs)
            self._roots.append(seen.cholesky())
        return bool(used)

    def turn_fan_in(self) -> None:
        """Subspace iteration with E<r, z> in place of the loss."""
        fan_in, fan_out = (tuple(entry.block for entry in side) for side in (self._producers, self._readers))
        blocks = UnitBlocks(self._group.group, self._group.num_units, fan_in, fan_out)
        iteration = _WhitenedIteration(self._twin, blocks, self._agreement, self._roots)
        for _ in range(ROUNDS):
            iteration.turn(iteration.fan_out_gradients())

    def _agreement(self, module: nn.Module) -> Tensor:
        """Sum of <r, z> as a function of the new units; what readers read of others counts as given."""
        parts: list[Tensor] = []

        def adder(reader: LayerBlock, bottleneck: Iterator[Tensor]) -> OnCall:
            return lambda inputs, output: parts.append((next(bottleneck) * reader.old_outputs(output)).sum())

        pairs = zip(self._readers, self._bottlenecks, strict=True)
        after = {reader.layer: adder(reader, iter(bottleneck)) for reader, bottleneck in pairs}
        with hooked(before={reader.layer: reader.with_fixed_old_inputs for reader in self._readers}, after=after):
            self._loss(module)
        return torch.stack(parts).sum()

    def set_fan_out(self, settings: Tiny, before: float) -> bool:
        """Z by least squares, times the best step; zero, and False, where no step gives a loss below `before`."""
        fan_out = Rows([entry.block for entry in self._readers], self._twin.tensors)
        for targets in (self._bottlenecks, self._desired):
            fitted = self._least_squares(targets)
            best, lowest = 0.0, before
            for halvings in range(settings.halvings + 1):
                step = settings.scale / 2**halvings
                fan_out.write(fitted * step)
                value = self._twin.loss(self._loss)
                if value < lowest:
                    best, lowest = step, value
                elif best:
                    break
            fan_out.write(fitted * best)
            if best:
                return True
        return False

    def _least_squares(self, targets: Sequence[Sequence[Tensor]]) -> Tensor:
        """Z (units, fan-out features), from one pass that sees what the new units compute."""
        found: dict[nn.Module, list[Moments]] = {reader.layer: [] for reader in self._readers}

        def adder(reader: LayerBlock, wanted: Iterator[Tensor]) -> OnCall:
            return lambda inputs, output: found[reader.layer].append(
                moments(reader.layer, reader.new_inputs(inputs), next(wanted))
            )

        pairs = zip(self._readers, targets, strict=True)
        after = {reader.layer: adder(reader, iter(wanted)) for reader, wanted in pairs}
        with undisturbed(self._twin.module), hooked(after=after):
            self._loss(self._twin.module)
        return torch.cat([_as_columns(reader, total(found[reader.layer]).solve()) for reader in self._readers], 1)


class _WhitenedIteration(SubspaceIteration):
    """Subspace iteration whose rows V are orthonormal in the sense V S V^T = 1, before they get their usual norms."""

    def __init__(self, twin: GrownTwin, blocks: UnitBlocks, value: LossOf, roots: Sequence[Tensor]) -> None:
        super().__init__(twin, [blocks], value, scale=1.0)
        self._roots = roots

    def directions(self, group: str, fan_in_gradient: Tensor) -> Tensor:
        """Rows nearest to D L^-T, times L^-1, where S = L L^T."""
        rows = self.fan_in[group]
        white = [
            torch.linalg.solve_triangular(root, part.reshape(-1, len(root)).T, upper=False).T.reshape(len(part), -1)
            for root, part in zip(self._roots, rows.split(fan_in_gradient.cpu().double()), strict=True)
        ]
        parts = [
            torch.linalg.solve_triangular(root, part.reshape(-1, len(root)), upper=False, left=False)
            for root, part in zip(self._roots, rows.split(orthonormal_rows(torch.cat(white, 1))), strict=True)
        ]
        return torch.cat([part.reshape(len(fan_in_gradient), -1) for part in parts], 1)


def _desired_updates(value: Tensor, outputs: Sequence[Tensor]) -> list[Tensor]:
    """v: minus the gradient of each example's own loss, of which `value` is the mean."""
    wanted = [made for made in outputs if made.requires_grad]
    found = iter(torch.autograd.grad(scalar(value), wanted, allow_unused=True))
    gradients = [next(found) if made.requires_grad else None for made in outputs]
    return [
        torch.zeros_like(made) if gradient is None else -gradient * len(made)
        for gradient, made in zip(gradients, outputs, strict=True)
    ]


def _unexplained(reader: LayerBlock, read: Sequence[Tensor], desired: Sequence[Tensor]) -> list[Tensor]:
    """r: what a change of the reader's present weights and bias leaves of v, call by call."""
    layer, has_bias = reader.layer, reader.layer.bias is not None
    mapping = total(moments(layer, x, v, has_bias) for x, v in zip(read, desired, strict=True)).solve()
    return [v - predictions(layer, x, mapping, has_bias) for x, v in zip(read, desired, strict=True)]


def _as_columns(reader: LayerBlock, mapping: Tensor) -> Tensor:
    """A map (units x entries x kernel, old outputs) in the order of `WeightBlock.read`."""
    kernel = () if isinstance(reader.layer, nn.Linear) else reader.layer.kernel_size
    return mapping.reshape(-1, *kernel, mapping.shape[1]).movedim(-1, 1).reshape(len(reader.block.new), -1)
