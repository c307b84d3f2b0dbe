"""The Python interface: what ``import autogrow`` offers. The command line calls the same functions."""

from autogrow.api.networks import compare, evaluate, generate, load, predict, predict_text, train
from autogrow.api.shrinking import shrink
from autogrow.api.studies import Study, search

__all__ = ["Study", "compare", "evaluate", "generate", "load", "predict", "predict_text", "search", "shrink", "train"]
