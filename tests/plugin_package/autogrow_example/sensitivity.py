"""An objective that is measured: a search optimizes what nothing else needs to know."""

from autogrow.metrics.metric import Metric
from autogrow.metrics.objectives import Objective


def change_of_outputs(network, inputs):
    """Mean absolute change of the outputs where all inputs are a hundredth larger."""
    return (network(1.01 * inputs) - network(inputs)).abs().mean()


sensitivity = Objective(
    "sensitivity",
    "minimize",
    Metric("sensitivity", "change of outputs for inputs 1 % larger", "sensitivity", measure=change_of_outputs),
)
