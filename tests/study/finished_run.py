"""A run folder as a search leaves it, made in a moment and without Ray: real settings, real study, made-up metrics."""

from autogrow.search_plans import plan_new_search
from autogrow.study.planning import SearchPlan
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import Proposer
from autogrow.study.search import first_trials
from autogrow.study.settings import versions
from autogrow.study.study_database import StudyDatabase

from .made_results import complete, failed, stopped

ENDINGS = (
    ("complete", 0.99, 0.00, 9.0),  # the static control, better than all and never chosen
    ("complete", 0.80, 0.05, 2.0),  # the fastest
    ("complete", 0.90, 0.01, 8.0),  # the smallest gap
    ("complete", 0.95, 0.04, 7.0),  # the most accurate
    ("complete", 0.94, 0.02, 3.0),  # the knee
    ("stopped", 0.99, 0.00, 0.1),
    ("failed", None, None, None),
)
"""How trial 0, 1, ... ended: validation accuracy, generalization gap, train seconds."""
MOST_ACCURATE, SMALLEST_GAP, FASTEST, KNEE = 3, 2, 1, 4


def make_finished_run(path, data_dir, dataset="digits", **settings) -> RunFolder:
    """A run of as many trials as there are `ENDINGS`."""
    plan = plan_new_search(dataset, trials=len(ENDINGS), epochs=4, data_dir=data_dir, **settings)
    folder = RunFolder(path)
    folder.create({**plan.settings.model_dump(mode="json"), "versions": versions()})
    _fill(StudyDatabase.create(folder.database, plan.objectives, first_trials(plan.settings, plan.space)), plan)
    return folder


def _fill(database: StudyDatabase, plan: SearchPlan) -> None:
    proposer = Proposer(database, plan.space, plan.settings, plan.num_samples, lambda: 1.0)
    for status, *values in ENDINGS:
        number = proposer.next().number
        if status == "failed":
            database.tell_result(number, failed())
            continue
        accuracy, gap, seconds = values
        metrics = {
            "validation_score": accuracy,
            "train_score": accuracy + gap,
            "generalization_gap": gap,
            "train_seconds": seconds,
        }
        database.tell_result(number, complete(metrics) if status == "complete" else stopped(metrics))
