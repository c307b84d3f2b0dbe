"""Fitting the weights of new units to data, before they are put into the network.

`resizing.prepare_resizing` draws them; what an initialization finds better is written over that, and nothing else is.
The methods stand in `found_no_better` and are imported when a policy asks for one.
"""

import torch

from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.new_units.grown_twin import GrownTwin
from autogrow.network.new_units.unit_blocks import WeightBlock
from autogrow.network.resizing.prepared_resizing import Resizing
from autogrow.network.running.model_input import ModelInput
from autogrow.policy.initializations import GradientMax, Initialization, Tiny


def fit_new_units(
    network: GrowableNetwork,
    resizing: Resizing,
    settings: Initialization,
    loss: LossOf,
    calibration_input: ModelInput | None,
) -> None:
    """Fit the new units of a resizing that has been prepared and not committed, as `settings` says.

    Everything is tried on a copy; of the resizing, only entries between new units and old ones are written. No random
    numbers are drawn, and random states are left as they were.

    Args:
        network: The network before the resizing.
        resizing: What `resizing.prepare_resizing` has made for it, with a fan-out of zero.
        settings: The initialization; one that does not look at data leaves all as it is.
        loss: The loss of a module on a fixed batch.
        calibration_input: What new norm channels will take their mean and variance from, if anything.

    Raises:
        NetworkError: The loss has no gradient, or is no scalar.
    """
    if not isinstance(settings, GradientMax | Tiny):
        return
    twin = GrownTwin(network, resizing)
    fitted = _fit(twin, settings, loss, calibration_input)
    new = {change.name: change.new for change in resizing.changes}
    with torch.no_grad():
        for block in fitted:
            block.write(new[block.name], block.read(twin.tensors[block.name]))


def _fit(
    twin: GrownTwin, settings: GradientMax | Tiny, loss: LossOf, calibration_input: ModelInput | None
) -> list[WeightBlock]:
    """Fit the units of the copy; the blocks of weights that were fitted."""
    if isinstance(settings, GradientMax):
        from autogrow.network.found_no_better.gradient_max import fit_gradient_max

        fit_gradient_max(twin, settings, loss)
        return [block for group in twin.groups for block in group.fan_in]
    from autogrow.network.found_no_better.tiny import fit_tiny

    fit_tiny(twin, settings, loss, calibration_input)
    return [block for group in twin.groups for block in (*group.fan_in, *group.fan_out)]
