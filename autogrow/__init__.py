"""autogrow finds out how a neural network should grow.

Names are loaded when they are first used, so ``import autogrow`` costs neither torch nor Ray nor Optuna.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers only; at run time __getattr__ below does the same
    from autogrow.api import Study as Study
    from autogrow.api import compare as compare
    from autogrow.api import evaluate as evaluate
    from autogrow.api import generate as generate
    from autogrow.api import load as load
    from autogrow.api import predict as predict
    from autogrow.api import predict_text as predict_text
    from autogrow.api import search as search
    from autogrow.api import shrink as shrink
    from autogrow.api import train as train
    from autogrow.models.building import ModelSpec as ModelSpec
    from autogrow.network.expandable import ExpandableNetwork as ExpandableNetwork
    from autogrow.policy.growth_policy import GrowthPolicy as GrowthPolicy
    from autogrow.policy.training_settings import TrainingSettings as TrainingSettings

_MODULE_OF = {
    "ExpandableNetwork": "autogrow.network.expandable",
    "GrowthPolicy": "autogrow.policy.growth_policy",
    "ModelSpec": "autogrow.models.building",
    "Study": "autogrow.api",
    "TrainingSettings": "autogrow.policy.training_settings",
    "compare": "autogrow.api",
    "evaluate": "autogrow.api",
    "generate": "autogrow.api",
    "load": "autogrow.api",
    "predict": "autogrow.api",
    "predict_text": "autogrow.api",
    "search": "autogrow.api",
    "shrink": "autogrow.api",
    "train": "autogrow.api",
}

__version__ = "0.1.0"
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
