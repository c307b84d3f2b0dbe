"""The driver of a search: has the executor run what the study proposes, within the budget, and records the ends."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.trial import FrozenTrial

from autogrow.errors import RunFolderError
from autogrow.files import current_umask, write_text_atomically
from autogrow.metrics.objectives import metrics_to_measure
from autogrow.study.budget import Budget
from autogrow.study.choosing import TrialsOrCandidates, best_trial, policy_of
from autogrow.study.executor import Host
from autogrow.study.monitor import SearchMonitor
from autogrow.study.planning import SearchPlan
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import Proposer
from autogrow.study.stalled_trials import StalledTrials
from autogrow.study.study_database import StudyDatabase
from autogrow.study.successive_halving import SuccessiveHalving
from autogrow.study.trial_config import TrialConfig
from autogrow.study.trial_result import CompleteTrial, FailedTrial, InterruptedTrial, TrialReport, TrialResult
from autogrow.tasks import TASKS

NUM_REPORTS = 12
"""Reports of a trial while it runs: what ASHA compares and the progress display shows."""
SAVE_SECONDS = 60.0
"""How long running trials may take to save themselves when a budget is used up."""
HURRIED_SAVE_SECONDS = 5.0
"""The same when the user asks, or the machine is about to go: ten seconds are promised until nothing is left."""
ORPHANS_SECONDS = 2.0
"""How long trials of a cluster that is not ours get to save themselves when we have lost it."""


class Driver:
    """One run of a search: gives trials to the executor, records their ends, watches the budget and the signals."""

    def __init__(
        self,
        plan: SearchPlan,
        folder: RunFolder,
        database: StudyDatabase,
        monitor: SearchMonitor,
        started: float,
    ) -> None:
        self.interrupted = False
        self.failures_in_a_row = 0
        self._plan = plan
        self._folder = folder
        self._database = database
        self._monitor = monitor
        self._budget = Budget(plan.settings, started, database.trial_seconds())
        self._proposer = Proposer(
            database, plan.space, plan.settings, plan.num_samples, self._budget.share_used, self._refused
        )
        self._stalled = StalledTrials(plan.settings.trial_timeout_seconds)
        self._roots: dict[int, int] = {}
        """Of the trials that have started."""
        self._halving = SuccessiveHalving(plan.settings.early_stopping, folder.rungs_file)
        self._stopping = False
        self._patience_ends = math.inf
        self._umask = current_umask()  # Ray's processes have another
        self._best: FrozenTrial | None = None
        """The trial in policy.yaml."""
        self._best_policy = ""
        """What stands in it."""

    def run(self) -> None:
        self._save_best_policy()  # a driver may have died just before it did
        if not self._work_left():
            return
        if self._plan.executor.preparation is not None:
            self._monitor.phase(self._plan.executor.preparation)
        self._plan.executor.run(self)

    def stopping(self) -> bool:
        """Whether no more trials are to be started; running ones are then asked to save themselves."""
        if not self._stopping and (exhausted := self._budget.exhausted) is not None:
            self._stop(exhausted)
        return self._stopping

    def out_of_patience(self) -> bool:
        """Whether running trials have had long enough to save themselves: one that hangs never will."""
        return time.monotonic() > self._patience_ends

    def cluster_started(self, slots: int) -> None:
        self._budget.slots = slots
        self._monitor.search_started(
            self._plan.settings.trials, self._database.num_ended(), slots, self._budget.seconds_left
        )

    def cluster_lost(self, reason: str, goes_on: bool) -> None:
        if self._plan.settings.address is not None:  # its processes may live on for a while, which we cannot end
            self._folder.request_interrupt()
            time.sleep(ORPHANS_SECONDS)
        self._stalled = StalledTrials(self._plan.settings.trial_timeout_seconds)
        self._folder.fetch_trials()
        for trial in self._database.trials():
            self._budget.ended(trial.number, None)
        self._database.reconcile(self._folder)
        self._save_best_policy()
        if goes_on and not self._stopping:
            self._monitor.cluster_lost(reason)

    def next_trial(self, host: Host) -> TrialConfig | None:
        settings = self._plan.settings
        proposal = self._proposer.next()
        if proposal is None:
            return None
        self._folder.publish()  # before it starts: whoever goes on elsewhere must know of it
        self._monitor.trial_started(proposal)
        return TrialConfig.of(
            settings,
            self._plan.model,
            number=proposal.number,
            role=proposal.role,
            policy=proposal.policy,
            training=proposal.training,
            seed=proposal.seed,
            replicate_of=proposal.replicate_of,
            device="cuda" if settings.gpus_per_trial else "cpu",
            gpu_memory_fraction=settings.gpus_per_trial if 0 < settings.gpus_per_trial < 1 else None,
            memory_bytes=settings.memory_per_trial_bytes or host.memory_bytes,
            scratch=host.scratch,
            folder=self._folder.address_of(self._folder.trial(proposal.root).path),
            interrupt_file=self._folder.address_of(self._folder.interrupt_file),
            num_reports=NUM_REPORTS,
            umask=self._umask,
            measured=metrics_to_measure(
                self._plan.objectives, memory=settings.limits.needs_memory, latency=settings.limits.needs_latency
            ),
            forks=self._folder.forks_place if settings.fork_at_growth else None,
        )

    def _refused(self, number: int, reason: str) -> None:
        self._monitor.trial_ended(number, FailedTrial(reason=reason))

    def reported(self, config: TrialConfig, report: TrialReport) -> bool:
        self._budget.reported(config.number, report.trial_seconds)
        self._monitor.trial_reported(config.number, report)
        # Replicates run to their end: a mean over those that were allowed to would flatter.
        return config.replicate_of is not None or self._halving.goes_on(config.root, config.role, report)

    def started(self, config: TrialConfig) -> None:
        self._roots[config.number] = config.root
        self._stalled.started(config.number)

    def found_hanging(self) -> dict[int, str]:
        found = self._stalled.found(lambda number: self._folder.signs_of_life(self._roots[number]))
        return dict.fromkeys(found, self._stalled.reason)

    def ended(self, config: TrialConfig, result: TrialResult) -> None:
        self._stalled.ended(config.number)
        self._budget.ended(config.number, result.trial_seconds)
        if isinstance(result, InterruptedTrial):
            self._database.note(config.number, trial_seconds=result.trial_seconds)
            if result.reason is not None:
                raise RunFolderError(f"{result.reason}; then go on with --resume")
            return  # left RUNNING until `reconcile` queues it for the next time
        self._folder.fetch_trial(config.root)
        self._database.tell_result(config.number, result)
        if isinstance(result, CompleteTrial) or config.replicate_of is not None:
            self._save_best_policy(config.number)
        self._folder.publish()
        self._folder.discard_checkpoints(config.root)
        self._monitor.trial_ended(config.number, result)
        self._count_failures(isinstance(result, FailedTrial))

    def _count_failures(self, has_failed: bool) -> None:
        limit = self._plan.settings.max_consecutive_failures
        if self.failures_in_a_row < limit:  # once there, a running trial that still ends well does not undo it
            self.failures_in_a_row = self.failures_in_a_row + 1 if has_failed else 0
            if self.failures_in_a_row == limit:
                self._stop(f"{limit} trials in a row have failed")

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM, a closed terminal once: save and end. Twice: end at once. Only the main thread hears."""
        before = self._handle_signals()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle_signals(self) -> dict[signal.Signals, Any]:
        """What handled them before, by signal; nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        numbers = {signal.SIGINT, signal.SIGTERM}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
            numbers.add(signal.SIGHUP)
        return {number: signal.signal(number, self._interrupt) for number in numbers}

    def _interrupt(self, number: int, frame: object) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        if number == signal.SIGHUP:
            self._monitor = SearchMonitor()  # the terminal has gone: nothing can be written there
        self._stop("interrupted; once more ends at once")
        self._patience_ends = min(self._patience_ends, time.monotonic() + HURRIED_SAVE_SECONDS)

    def _stop(self, reason: str) -> None:
        # Called from the signal handler too, which runs between any two lines of this thread: no locks here.
        if not self._stopping:
            self._stopping = True
            self._patience_ends = time.monotonic() + SAVE_SECONDS
            self._folder.request_interrupt()
            self._monitor.stopping(reason)

    def _work_left(self) -> bool:
        proposed, wanted = self._database.num_proposed(), self._plan.settings.trials
        return proposed < wanted or self._database.has_waiting_resumption()

    def _save_best_policy(self, ended: int | None = None) -> None:
        """Rewrite policy.yaml when a trial that has just `ended` is the best so far; by default, look at all trials.

        Where policies have several seeds, all are looked at: what one says changes what is known of the others.
        """
        settings, candidates = self._plan.settings, self._database.candidates()
        known: TrialsOrCandidates = candidates
        if ended is not None and not candidates.are_replicated:
            known = [trial for trial in (self._best, self._database.trials()[ended]) if trial is not None]
        best = best_trial(known, self._plan.objectives, TASKS[settings.task].preference)
        if best is None or (
            self._best is not None and best.number == self._best.number and not candidates.are_replicated
        ):
            return
        text = policy_of(best, self._folder, settings, known).to_text()
        if text != self._best_policy:
            write_text_atomically(self._folder.policy_file, text)
        self._best, self._best_policy = best, text
