#!/usr/bin/env bash
# optuna-dashboard 0.21.0 with Optuna 5.0.0: what `Trial.set_constraint` stores is not seen, and the best trial of a study
# with one objective is one that breaks its constraint, in whatever form that is stored.
#
# A good guess: the dashboard shows the best trial that `Study.best_trial` of the same study gives.
# Seen: the trial is sent to the page with the constraints that `constraints_func` left in a system attribute, and with
# none where `set_constraint` was called, so nothing marks it as infeasible. The best trial of one objective is the
# storage's best value, which heeds neither form; `Study.best_trial` heeds both.
#
# What follows: write both forms, so that the page can mark what is infeasible, and ask Optuna which trial is best.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 optuna-dashboard==0.21.0
"$folder/env/bin/python" - <<'PYTHON'
import io
import json
import warnings

import optuna
from optuna_dashboard import wsgi

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def seen_by_dashboard(study, storage):
    """What the dashboard sends to its page: the constraints of trial 1, and the numbers of the best trials."""
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": f"/api/studies/{study._study_id}", "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.input": io.BytesIO(), "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
    }
    sent = json.loads(b"".join(wsgi(storage)(environ, lambda status, headers, *error: None)))
    return sent["trials"][1]["constraints"], [trial["number"] for trial in sent["best_trials"]]


def broken(frozen_trial):
    """Trial 1 breaks the constraint."""
    return [1.0 if frozen_trial.number == 1 else -1.0]


seen = {}
for form in ("set_constraint", "constraints_func"):
    storage = optuna.storages.InMemoryStorage()
    sampler = optuna.samplers.TPESampler(constraints_func=broken if form == "constraints_func" else None)
    study = optuna.create_study(storage=storage, sampler=sampler, study_name=form)
    for value in (2.0, 1.0):
        trial = study.ask()
        if form == "set_constraint":
            trial.set_constraint("size", broken(trial)[0])
        study.tell(trial, value)
    constraints, best = seen_by_dashboard(study, storage)
    seen[form] = (study.best_trial.number, constraints, best)
    print(f"{form}: trial 1 breaks a constraint; the page gets {constraints} for it, and trial {best} as the best")
    print(f"  best by Optuna: trial {study.best_trial.number}")
assert seen == {"set_constraint": (0, [], [1]), "constraints_func": (0, [1.0], [1])}, "this has changed"
PYTHON
