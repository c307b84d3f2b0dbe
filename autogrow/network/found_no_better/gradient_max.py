"""New units whose fan-out gets the largest gradient: GradMax, Evci et al. 2022 (arXiv 2201.05125), norm-safe form.

The paper sets V = 0 and Z to the top left singular vectors of M = E[delta x^T]. Here Z = 0 and V are the top right
ones, as a unit with V = 0 has no gradient behind a ReLU and an unlimited one behind a norm (derived: the gradient of Z
is V M^T). See `subspace_iteration` for how V is found.
"""

from autogrow.network.growable import LossOf
from autogrow.network.new_units.grown_twin import GrownTwin
from autogrow.network.new_units.subspace_iteration import SubspaceIteration
from autogrow.policy.initializations import GradientMax


def fit_gradient_max(twin: GrownTwin, settings: GradientMax, loss: LossOf) -> None:
    """Leaves in the copy, for each group, the fan-in of the round after which the gradient of the fan-out is largest.

    Each row has `scale` times the root mean square norm of the group's old rows. Rows keep the values that were drawn
    where no gradient arrives, and where there are more units than directions in it.
    """
    twin.separate_new_units()
    iteration = SubspaceIteration(twin, twin.groups, loss, settings.scale)
    gradients = iteration.fan_out_gradients()
    best = {name: (0.0, rows.read()) for name, rows in iteration.fan_in.items()}
    for _ in range(settings.iterations):
        iteration.turn(gradients)
        gradients = iteration.fan_out_gradients()
        for name, rows in iteration.fan_in.items():
            energy = float(gradients[name].double().square().sum())
            if energy > best[name][0]:
                best[name] = (energy, rows.read())
    for name, rows in iteration.fan_in.items():
        rows.write(best[name][1])
