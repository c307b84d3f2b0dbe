"""Scores of units by what the loss would rise by without them: measured, or estimated from gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autogrow.network.new_units.grown_twin import scalar
from autogrow.network.running.copying import copied
from autogrow.network.running.undisturbed import same_random_numbers, undisturbed
from autogrow.network.shrinking.reads import Read
from autogrow.network.shrinking.request import Batch, Request, mean_over_batches, nothing_yet, num_examples
from autogrow.network.shrinking.unit_places import Columns, Passing, UnitPlaces, reader_weights
from autogrow.policy.unit_scores import Sensitivity, UnitScore


def taylor(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Mean over examples of the absolute value of activation times gradient, summed over positions."""
    return _of_gradients(request, lambda products: products.abs().mean(0))


def fisher(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Half the mean over examples of its square."""
    return _of_gradients(request, lambda products: products.square().mean(0) / 2)


def optimal_brain_damage(request: Request[UnitScore]) -> dict[str, Tensor]:
    """Half the sum of h w^2 over the weights that read each unit, with h from squared gradients."""
    module, places = _prepared(request)
    found = nothing_yet(request)
    for batch in request.batches:
        count = num_examples(batch)
        sums: dict[str, Tensor] = {}
        reads, hidden = _gradients_of_results(module, places, batch, request.seed)
        for read, squares, gradient in reads:
            # The gradient of an example's own loss is that of the mean, times the number of examples.
            of_columns = _curvature(read, squares, gradient * count) / (2 * count)
            columns = places.columns(read)
            for group in columns.keys() - hidden:
                of_units = of_columns[columns[group]].sum(1)
                sums[group] = sums[group] + of_units if group in sums else of_units
        for group, values in sums.items():
            found[group].append(values)
    return mean_over_batches(request, found)


def sensitivity(request: Request[Sensitivity]) -> dict[str, Tensor]:
    """What the loss changes by when all weights that read a unit are zero: one pass for every unit and batch."""
    module = copied(request.network.module)
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    readers = reader_weights(request.network.structure, request.groups)
    found = nothing_yet(request)
    with undisturbed(module):
        for batch in request.batches:
            level = loss_of(module, batch, request.seed)
            for group in request.groups:
                columns = [
                    (tensors[name], dim, index[group]) for (name, dim), index in readers.items() if group in index
                ]
                if columns:
                    width = request.network.structure.widths[group]
                    changes = [
                        _loss_without(module, batch, request.seed, columns, unit) - level for unit in range(width)
                    ]
                    found[group].append(torch.tensor(changes, dtype=torch.float64))
    scores = mean_over_batches(request, found)
    return {group: values.abs() for group, values in scores.items()} if request.score.absolute else scores


def _prepared(request: Request[UnitScore]) -> tuple[nn.Module, UnitPlaces]:
    """A copy of the network, and where its units are read while the loss is computed."""
    module = copied(request.network.module)
    first = request.batches[0]
    with undisturbed(module), torch.enable_grad():
        places = UnitPlaces(
            module, request.network.structure, request.groups, lambda: loss_of(module, first, request.seed)
        )
    return module, places


def _of_gradients(request: Request[UnitScore], statistic: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    module, places = _prepared(request)
    found = nothing_yet(request)
    for batch in request.batches:
        for group, products in _activation_times_gradient(module, places, batch, request.seed).items():
            found[group].append(statistic(products))
    return mean_over_batches(request, found)


def _activation_times_gradient(module: nn.Module, places: UnitPlaces, batch: Batch, seed: int) -> dict[str, Tensor]:
    """Sum over positions and readers of activation times gradient of the example's own loss: (examples, units).

    Activations are multiplied by gates that are 1, one for every example and column: those have the sums as gradients.
    Groups are left out of which the loss shows no gradient, or not of all readings: some code computes without (inside
    of functions that bring a gradient of their own), and some activations have no dimension of examples.
    """
    gates: list[tuple[Tensor, Columns]] = []
    hidden: set[str] = set()
    count = num_examples(batch)

    def on_units(passing: Passing) -> Tensor | None:
        gate = _gate(passing, count) if torch.is_grad_enabled() else None
        if gate is None:
            hidden.update(passing.columns)
            return None
        gates.append((gate, passing.columns))
        return _times(passing, gate)

    with undisturbed(module), torch.enable_grad(), same_random_numbers(module, seed), places.watched(on_units):
        loss = scalar(batch.loss(module), with_gradient=bool(gates))
        gradients = torch.autograd.grad(loss, [gate for gate, _ in gates], allow_unused=True) if gates else ()
    sums: dict[str, Tensor] = {}
    for (_, columns), gradient in zip(gates, gradients, strict=True):
        for group in columns.keys() - hidden if gradient is not None else ():
            of_units = gradient.cpu().double()[:, columns[group]].sum(2) * count
            sums[group] = sums[group] + of_units if group in sums else of_units
    return sums


def _gate(passing: Passing, count: int) -> Tensor | None:
    """Ones, (examples, columns); None where activations have no dimension of examples."""
    shape = passing.values.shape
    if not passing.values.is_floating_point() or _example_dim(passing, count) is None:
        return None
    return passing.values.new_ones((count, shape[passing.column_dim])).requires_grad_()


def _times(passing: Passing, gate: Tensor) -> Tensor:
    values, dim = passing.values, _example_dim(passing, len(gate))
    assert dim is not None
    # Rows of a matrix are often all positions of one example after another: they have one gate.
    per_example = values.shape[dim] // len(gate)
    repeated = gate.repeat_interleave(per_example, 0) if per_example > 1 else gate
    shape = [1] * values.dim()
    shape[dim], shape[passing.column_dim] = values.shape[dim], values.shape[passing.column_dim]
    return values * (repeated if dim < passing.column_dim else repeated.T).reshape(shape)


def _example_dim(passing: Passing, count: int) -> int | None:
    """The first dimension with an entry for each example; else the first of all, with several for each."""
    sizes = {dim: size for dim, size in enumerate(passing.values.shape) if dim != passing.column_dim}
    exact = [dim for dim, size in sizes.items() if size == count]
    return exact[0] if exact else next((dim for dim, size in sizes.items() if dim == 0 and size % count == 0), None)


def _gradients_of_results(
    module: nn.Module, places: UnitPlaces, batch: Batch, seed: int
) -> tuple[list[tuple[Read, Tensor, Tensor]], set[str]]:
    """Every read with the squares of its inputs and the gradient of the loss with respect to what it computes.

    Also the groups that have readings without a gradient.
    """
    reads: list[tuple[Read, Tensor, Tensor]] = []
    hidden: set[str] = set()

    def on_result(read: Read, result: Tensor) -> Tensor:
        columns = places.columns(read)
        if not torch.is_grad_enabled():
            hidden.update(columns)
        if not columns or not torch.is_grad_enabled():
            return result
        if not result.requires_grad:
            result = result.detach().requires_grad_()
        reads.append((read, read.inputs.detach().square(), result))
        return result.clone()  # what the network does in place from here on is not done to the result

    with (
        undisturbed(module),
        torch.enable_grad(),
        same_random_numbers(module, seed),
        places.watching_reads(on_result=on_result),
    ):
        loss = scalar(batch.loss(module), with_gradient=bool(reads))
        results = [result for _, _, result in reads]
        gradients = torch.autograd.grad(loss, results, allow_unused=True) if reads else ()
    found = zip(reads, gradients, strict=True)
    return [(read, squares, gradient) for (read, squares, _), gradient in found if gradient is not None], hidden


def _curvature(read: Read, squares: Tensor, gradient: Tensor) -> Tensor:
    """Sum over positions and readers' outputs of (inputs weight gradient)^2, by column."""
    squares = squares.requires_grad_()
    with torch.enable_grad():
        outputs = read.product(squares, read.values.detach().square())
        (slopes,) = torch.autograd.grad(outputs, squares, gradient.square())
    products = (squares.detach() * slopes).movedim(read.column_dim, -1)
    return products.reshape(-1, products.shape[-1]).double().sum(0).cpu()


def loss_of(module: nn.Module, batch: Batch, seed: int) -> float:
    with same_random_numbers(module, seed):  # what the loss itself draws is the same every time
        return float(scalar(batch.loss(module), with_gradient=False).detach())


def _loss_without(
    module: nn.Module, batch: Batch, seed: int, columns: Sequence[tuple[Tensor, int, Tensor]], unit: int
) -> float:
    """The loss without a unit; afterwards the weights are as they were."""
    kept = [(weight, dim, index[unit].to(weight.device)) for weight, dim, index in columns]
    values = [weight.index_select(dim, index) for weight, dim, index in kept]
    for weight, dim, index in kept:
        weight.index_fill_(dim, index, 0.0)
    try:
        return loss_of(module, batch, seed)
    finally:
        for (weight, dim, index), value in zip(kept, values, strict=True):
            weight.index_copy_(dim, index, value)
