"""``autogrow reproduce``: the theses' experiments, the cost of growing, stacking, and studies behind the defaults."""

# Imported in the order in which they are listed and run: each registers what it can do.
from autogrow.experiments.reproduction import sine, mnist, cifar100, cost  # noqa: F401, I001  # isort: skip
from autogrow.experiments.reproduction.summation import summation  # noqa: F401  # isort: skip
from autogrow.experiments.reproduction.shrinking import autoencoder, classifiers  # noqa: F401  # isort: skip
from autogrow.experiments.reproduction.stacking import stacking  # noqa: F401  # isort: skip
from autogrow.experiments.reproduction import ablations  # noqa: F401  # isort: skip
from autogrow.experiments.reproduction.racing import racing  # noqa: F401  # isort: skip
from autogrow.experiments.reproduction.base import REPRODUCTIONS

__all__ = ["REPRODUCTIONS"]
