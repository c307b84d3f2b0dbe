"""Whatever a file holds, its reader gives plain data or one line of bounded length; never a traceback.

``AUTOGROW_FUZZ=4 python -m pytest tests/reading`` tries four times as many documents, others than are tried always:
about 2,000 in all.
"""

import copy
import io
import json
import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from autogrow.cli.options import parse_model_options
from autogrow.data import open_dataset
from autogrow.data.array_store import META_FILE, read_meta
from autogrow.errors import MAX_LINE, AutogrowError
from autogrow.experiments.folder import ExperimentFolder
from autogrow.export.policies import export_policy
from autogrow.export.retraining import REQUEST, check_folder, train_policy
from autogrow.export.saved_network import load_network
from autogrow.export.weights import load_weights
from autogrow.locking import FolderLock
from autogrow.models.building import ModelSpec, build_model
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.policy_file import read_yaml_mapping
from autogrow.policy.training_settings import TrainingSettings
from autogrow.reading.fields import parse_bytes
from autogrow.report.summary import summarize
from autogrow.study.remote_folder import RemoteFolder, lock_holder
from autogrow.study.run_folder import RunFolder
from autogrow.study.search_space import SearchSpace
from autogrow.study.settings import SearchSettings, parse_duration
from autogrow.study.successive_halving import SuccessiveHalving
from autogrow.study.trial_record import TrialRecord
from autogrow.study.warm_start import read_warm_start
from autogrow.training.checkpoint import load_checkpoint, save_checkpoint
from autogrow.training.records import TrialFolder

from .mutations import (
    BYTES,
    JSON_SNIPPETS,
    SNIPPETS,
    STRANGE,
    almost_json,
    almost_json_lines,
    almost_yaml,
    flipped,
    mutated,
)

pytestmark = pytest.mark.slow

TIMES = int(os.environ.get("AUTOGROW_FUZZ", "0"))
FIXTURE = Path(__file__).parent.parent / "fixtures" / "run-format-1"
SPACES = Path(__file__).parent.parent.parent / "search_spaces"
POLICY = yaml.safe_load((FIXTURE / "policy.yaml").read_text())
CONFIG = yaml.safe_load((FIXTURE / "config.yaml").read_text())
SPACE = yaml.safe_load((SPACES / "methods.yaml").read_text())
SMALL = ModelSpec("mlp", {"hidden": (4,)})


def examples(number):
    """A number of documents, always the same; where the environment says so, several times as many, and others."""
    return settings(
        max_examples=number * max(TIMES, 1),
        derandomize=not TIMES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],  # what failed is small enough, and shrinking takes minutes
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


def outcome(read):
    """What a reader gives, or None where it refused in one line. Whatever else it raises fails the test."""
    try:
        return read()
    except AutogrowError as error:
        message = str(error)
        assert message and len(message) <= MAX_LINE
        assert len(message.splitlines()) == 1
        assert "Traceback" not in message
        return None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("read")


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@examples(30)
@given(content=almost_yaml(POLICY))
def test_a_policy(place, content):
    path = written(place / "policy.yaml", content)
    policy = outcome(lambda: GrowthPolicy.load(path))
    if policy is not None:
        policy.save(place / "again.yaml")
        assert GrowthPolicy.load(place / "again.yaml") == policy
        outcome(lambda: read_warm_start([str(path)], {}))


@examples(30)
@given(content=almost_yaml(SPACE))
def test_a_search_space(place, content):
    outcome(lambda: SearchSpace.load(written(place / "space.yaml", content)))


@examples(25)
@given(space=mutated(SPACE))
def test_a_search_space_in_python(space):
    outcome(lambda: SearchSpace(space, "space"))


@examples(30)
@given(content=almost_yaml(CONFIG))
def test_the_settings_of_a_run(place, content):
    run = RunFolder(place / "run")
    written(run.config_file, content)
    found = outcome(run.settings)
    outcome(run.study_location)
    if found is not None:
        run.write_config(found.model_dump(mode="json"))
        assert run.settings() == found
        outcome(lambda: SearchSpace(found.space, "search space"))


@examples(30)
@given(fields=mutated(CONFIG))
def test_settings_in_python(fields):
    from autogrow.policy.part import validated

    outcome(lambda: validated(SearchSettings, {name: value for name, value in fields.items() if name != "format"}, "x"))


@examples(30)
@given(text=st.sampled_from([*SNIPPETS, *JSON_SNIPPETS]) | st.text(max_size=30) | st.floats().map(str))
def test_values_on_the_command_line(text):
    outcome(lambda: parse_model_options((f"name={text}",)))
    outcome(lambda: parse_model_options((text,)))
    outcome(lambda: parse_duration(text))
    outcome(lambda: parse_bytes(text, "--max-memory"))


@examples(20)
@given(content=st.sampled_from(BYTES) | st.binary(max_size=50))
def test_yaml_that_is_none(place, content):
    outcome(lambda: read_yaml_mapping(written(place / "some.yaml", content), "file"))


@pytest.fixture(scope="module")
def digits(place):
    return open_dataset("digits", place / "data")


@pytest.fixture(scope="module")
def network(place, digits):
    """A saved network, and its configuration."""
    folder = place / "network"
    policy = GrowthPolicy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 2})
    train_policy(SMALL, digits, policy, TrainingSettings(epochs=1, batch_size=100), train_size=100, out=folder)
    return folder, json.loads((folder / "config.json").read_text())


@examples(30)
@given(data=st.data())
def test_the_configuration_of_a_network(network, place, data):
    folder, config = network
    copied = place / "copied"
    shutil.copytree(folder, copied, dirs_exist_ok=True)
    (copied / "config.json").write_bytes(data.draw(almost_json(config)))
    saved = outcome(lambda: load_network(copied))
    if saved is not None:
        outcome(lambda: saved.normalization)


@examples(25)
@given(data=st.data())
def test_weights(network, place, data):
    content = (network[0] / "model.safetensors").read_bytes()
    path = written(place / "weights", data.draw(flipped(content)))
    outcome(lambda: load_weights(path, build_model(SMALL, (1, 8, 8), 10, 0)))


@examples(25)
@given(data=st.data())
def test_the_request_of_a_training(place, data):
    request = {"model": SMALL.to_dict(), "dataset": {"name": "digits"}, "policy": {}, "training": {}, "seed": 0}
    request = json.loads(json.dumps(request))
    written(place / "training" / REQUEST, data.draw(almost_json(request)))
    outcome(lambda: check_folder(place / "training", request))


@cache
def lines_of(name):
    return [json.loads(line) for line in (FIXTURE / "trials" / "00001" / name).read_text().splitlines()][:4]


@examples(30)
@given(data=st.data())
def test_the_records_of_a_trial(place, data):
    folder = TrialFolder(place / "trial")
    written(folder.path / "samples.jsonl", data.draw(almost_json_lines(lines_of("samples.jsonl"))))
    written(folder.path / "events.jsonl", data.draw(almost_json_lines(lines_of("events.jsonl"))))
    result = json.loads((FIXTURE / "trials" / "00001" / "result.json").read_text())
    written(folder.path / "result.json", data.draw(almost_json(result)))
    samples, events = outcome(folder.samples), outcome(folder.events)
    outcome(folder.result)
    if samples is not None and events is not None:
        folder.rewrite(samples, events)
        assert (folder.samples(), folder.events()) == (samples, events)


@examples(25)
@given(data=st.data())
def test_what_trials_were_compared_by(place, data):
    records = [json.loads(line) for line in (FIXTURE / "rungs.jsonl").read_text().splitlines()][:4]
    path = written(place / "rungs.jsonl", data.draw(almost_json_lines(records)))
    outcome(lambda: SuccessiveHalving("flops", path))


RUN = {
    "seed": 0, "condition": "grown", "test_score": 0.9, "test_loss": 0.1, "train_score": 0.9, "train_loss": 0.1,
    "train_seconds": 1.0, "training_flops": 1e9, "steps": 3, "parameters": 10, "num_events": 1, "growth_ended_by": "",
    "shape": {"widths": {"0": 3}, "blocks": {}, "norm_eps": {}}, "validation_score": None, "trained_on": {},
    "curve": {"columns": {"step": [1.0]}, "growth_steps": [1]},
}  # fmt: skip


@examples(25)
@given(data=st.data())
def test_the_records_of_an_experiment(place, data):
    folder = ExperimentFolder(place / "experiment", "compare")
    written(folder.path / "runs" / "0-grown.json", data.draw(almost_json(RUN)))
    written(folder.result_file, data.draw(almost_json({"format": "autogrow-compare/1", "settings": {"seed": 0}})))
    record = outcome(lambda: folder.record(0, "grown"))
    outcome(lambda: folder.check({"seed": 0}))
    outcome(folder.result)
    if record is not None:
        assert json.loads(json.dumps(record.to_dict(), allow_nan=False))


@examples(25)
@given(data=st.data())
def test_the_record_of_decoded_arrays(digits, place, data):
    copied = place / "arrays"
    shutil.copytree(digits.arrays_folder, copied, dirs_exist_ok=True)
    (copied / META_FILE).write_bytes(data.draw(almost_json(json.loads((digits.arrays_folder / META_FILE).read_text()))))
    outcome(lambda: read_meta(copied))


@examples(30)
@given(data=st.data())
def test_locks(place, data):
    content = data.draw(almost_json({"host": "elsewhere", "pid": 1, "renewed": 1e12, "key": "k"}))
    written(place / "locked" / "lock", content)

    def hold():
        with FolderLock(place / "locked", "run").held():
            pass

    outcome(hold)
    remote = RemoteFolder("memory://locks/run")
    fsspec.filesystem("memory").pipe("/locks/run/lock", content)
    outcome(lambda: lock_holder(remote))


X, Y = np.arange(48.0).reshape(24, 2), np.arange(24) % 2
ARRAYS = {
    "strings": np.array([["a", "b"]] * 24), "dates": np.array(["2024-01-01"] * 24, dtype="M8[D]"),
    "nothing": np.empty(0),
    "one": np.array(3), "complex": X * 1j, "wide": np.zeros((24, 0)), "deep": np.zeros((24,) + (1,) * 20),
    "records": np.zeros(24, dtype=[("a", "f8"), ("b", "i4")]), "objects": np.array([{}] * 24), "nan": X * np.nan,
    "huge": np.full((24, 2), 1e308), "unsigned": np.full(24, 2**64 - 1, dtype="u8"), "bytes": np.array([b"a"] * 24),
    "halves": X.astype("f2"), "quadruple": X.astype("g"), "fewer": X[:3],
    "bools": Y.astype(bool), "void": np.zeros(24, "V8"),
}  # fmt: skip
HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (10**3, 10), }", "{'descr': '<f8', 'shape': (24, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 2), }", "{}", "[" * 300, "1",
    "{'descr': '|O', 'fortran_order': False, 'shape': (24, 2), }", "{'descr': 'f99', 'fortran_order': 0, 'shape': 3}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-24, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 4000), }",
]  # fmt: skip
"""What a member of an archive may say of itself; every size is refused before memory is taken for it."""


@st.composite
def archives(draw):
    """The bytes of an archive with arrays of strange kinds, and members that are no arrays."""
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:6], "y_test": Y[:6]}
    for name in draw(st.lists(st.sampled_from(list(arrays)), max_size=2)):
        arrays[name] = ARRAYS[draw(st.sampled_from(list(ARRAYS)))]
    for name in draw(st.lists(st.sampled_from(list(arrays)), max_size=1)):
        del arrays[name]
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    if draw(st.booleans()):
        name, content = draw(st.sampled_from(["x_train", "y_train.npy", "other.txt", "x_test.npy"])), draw(members())
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(name, content)
    content = stream.getvalue()
    return draw(flipped(content)) if draw(st.integers(0, 3)) == 0 else content


@st.composite
def members(draw):
    header = draw(st.sampled_from(HEADERS)).encode()
    magic = draw(st.sampled_from([b"\x93NUMPY\x01\x00", b"\x93NUMPY\x09\x00", b"text"]))
    return magic + len(header).to_bytes(2, "little") + header + b"\0" * draw(st.sampled_from([0, 16, 400]))


@pytest.mark.filterwarnings("ignore")
@examples(30)
@given(content=archives(), task=st.sampled_from([None, "classification", "regression"]))
def test_a_users_own_data(place, content, task):
    path = written(place / "mine.npz", content)
    dataset = outcome(lambda: open_dataset(str(path), place / "decoded", task=task))
    if dataset is not None:
        outcome(lambda: dataset.split(seed=0))


@examples(30)
@given(data=st.data())
def test_checkpoints(place, data):
    folder = place / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    path = save_checkpoint(folder, 3, {"model": {"weight": torch.ones(2)}})
    path.write_bytes(data.draw(flipped(path.read_bytes())))
    outcome(lambda: load_checkpoint(folder, torch.device("cpu")))


@pytest.fixture(scope="module")
def attributes():
    with closing(sqlite3.connect(FIXTURE / "study.db")) as database:
        rows = database.execute("SELECT trial_id, key, value_json FROM trial_user_attributes").fetchall()
    return [(trial, key, json.loads(value)) for trial, key, value in rows]


@examples(25)
@given(data=st.data())
def test_what_is_kept_of_a_trial(attributes, data):
    trial, key, value = data.draw(st.sampled_from(attributes))
    own = {name: each for number, name, each in attributes if number == trial}
    changed = {**own, **data.draw(mutated({key: value}))}
    record = TrialRecord(create_trial(state=TrialState.FAIL, user_attrs=changed, system_attrs={}))
    for name, property in vars(TrialRecord).items():
        if not name.startswith("_") and not isinstance(property, type):
            outcome(lambda name=name: getattr(record, name) if name != "is_claimed_by" else record.is_claimed_by("x"))
    for needed in (record.needed_policy, record.needed_training, record.needed_given_policy):
        outcome(needed)
    assert hash((record.root, record.resume_of, record.role, record.origin, record.reason, record.driver))
    assert json.dumps(record.metrics, allow_nan=False)


@examples(3)
@given(data=st.data())
def test_what_a_study_says_of_its_trials(place, attributes, data):
    copied = place / "study"
    shutil.copytree(FIXTURE, copied, dirs_exist_ok=True)
    trial, key, value = data.draw(st.sampled_from(attributes))
    changed = data.draw(mutated({key: value}))
    with closing(sqlite3.connect(copied / "study.db")) as database, database:
        database.execute("DELETE FROM trial_user_attributes WHERE trial_id = ? AND key = ?", (trial, key))
        for name, each in changed.items():
            database.execute(
                "INSERT OR REPLACE INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
                (trial, name, json.dumps(each)),
            )
    run = RunFolder(copied)
    outcome(lambda: summarize(run))
    outcome(lambda: export_policy(run))
    outcome(lambda: read_warm_start([str(copied)], {}))


@examples(3)
@given(data=st.data())
def test_a_damaged_study(place, data):
    copied = place / "damaged"
    shutil.copytree(FIXTURE, copied, dirs_exist_ok=True)
    content = (FIXTURE / "study.db").read_bytes()
    (copied / "study.db").write_bytes(data.draw(flipped(content) | st.sampled_from(BYTES)))
    outcome(lambda: summarize(RunFolder(copied)))


def test_the_documents_are_right_before_they_are_changed(place, network, attributes):
    """Else nothing but the first check would ever be tried."""
    assert GrowthPolicy.load(FIXTURE / "policy.yaml") and SearchSpace(copy.deepcopy(SPACE), "space")
    assert RunFolder(FIXTURE).settings().trials == 7
    assert load_network(network[0]).module is not None
    assert summarize(RunFolder(FIXTURE)) is not None and attributes
    assert len(STRANGE) > 30 and asdict(TrialFolder(FIXTURE / "trials" / "00001").samples()[0])
