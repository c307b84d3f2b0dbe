"""Runs a search's trials in this process, one after another: for tests of all that is not Ray, and for a debugger.

Not for searches: a trial that crashes takes the search with it, and one that hangs is not ended.
"""

from autogrow.errors import UsageError
from autogrow.study.executor import Host, TrialSource
from autogrow.study.settings import SearchSettings
from autogrow.study.trial import device_problem, run_trial
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import TrialReport
from autogrow.training.ending import Signal


class InProcessExecutor:
    """An `Executor` with one slot."""

    preparation: str | None = None

    def check(self, settings: SearchSettings) -> None:
        """Raise `UsageError` for GPUs that are not here."""
        if (problem := device_problem(settings.gpus_per_trial)) is not None:
            raise UsageError(problem)

    def run(self, source: TrialSource) -> None:
        """Run trials until `source` has no more or is stopping. Raises what `source` raises."""
        source.cluster_started(1)
        while not source.stopping():
            config = source.next_trial(Host())
            if config is None:
                return
            source.started(config)
            source.ended(config, run_trial(config, _Asking(source, config)))


class _Asking:
    """Passes a trial's reports on."""

    def __init__(self, source: TrialSource, config: TrialConfig) -> None:
        self._source = source
        self._config = config

    def __call__(self, report: TrialReport) -> Signal:
        return Signal.CONTINUE if self._source.reported(self._config, report) else Signal.STOP
