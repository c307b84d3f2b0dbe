"""Built-in networks, each plain and written once at full width, and the way to a user's own."""

from autogrow.models.building import ModelSpec, automatic_model, build_model
from autogrow.models.registry import MODELS

__all__ = ["MODELS", "ModelSpec", "automatic_model", "build_model"]
