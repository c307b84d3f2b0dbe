"""The parts of the benchmarks by name. A part is imported when it is run: a GPU host need not have what others need."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row


@dataclass(frozen=True)
class Part:
    """A function of a module of this package that gives rows."""

    module: str
    function: str = "rows"
    on_any_device: bool = False
    """Whether the function takes a `Setting`; the other parts run on the CPU, at one size."""

    def rows(self, setting: Setting) -> Iterable[Row]:
        """The rows, where the part allows it one after the other as they are measured."""
        function = getattr(import_module(f"tests.benchmarks.{self.module}"), self.function)
        return function(setting) if self.on_any_device else function()


PARTS = {
    "start": Part("start"),
    "network": Part("network"),
    "search": Part("search"),
    "orchestration": Part("orchestration"),
    "gromo": Part("gromo_comparison"),
    "shock": Part("shock"),
    "forks": Part("forks"),
    "step": Part("training", "step_rows", on_any_device=True),
    "throughput": Part("training", "throughput_rows", on_any_device=True),
    "text": Part("text", on_any_device=True),
    "growing": Part("growing", on_any_device=True),
    "event": Part("growing", "event_rows", on_any_device=True),
    "width": Part("scaling_width", on_any_device=True),
    "trials": Part("scaling_search", "trial_rows"),
    "slots": Part("scaling_search", "slot_rows"),
    "packing": Part("packing", on_any_device=True),
    "versus": Part("versus_static"),
    "shrink": Part("shrink"),
    "frozen": Part("frozen", on_any_device=True),
    "executions": Part("executions", on_any_device=True),
}
