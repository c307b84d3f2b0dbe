import pytest

from autogrow.errors import PolicyError
from autogrow.policy.execution import Execution
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.policy.presets import default_policy, static_policy, thesis_policy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.triggers import Plateau
from autogrow.study.settings import SearchSettings


@pytest.mark.parametrize("full_width", [10, 16, 32, 64, 500, 512, 1024])
def test_tenths_take_nine_events_whatever_the_width(full_width):
    policy = thesis_policy(num_samples=100)
    widths = [policy.initial_width(full_width)]
    while added := policy.added_units(widths[-1], full_width):
        widths.append(widths[-1] + added)
    assert widths == [max(1, round(full_width * tenth / 10)) for tenth in range(1, 11)]


@pytest.mark.parametrize("num_samples", [10, 40, 100, 250, 2500])
def test_thesis_schedule_fits_the_run(num_samples):
    every = thesis_policy(num_samples).trigger.every
    assert every <= 25 and 9 * every <= num_samples


def test_static_policy_does_not_grow():
    assert not static_policy().grows
    assert static_policy().initial_width(64) == 64
    assert static_policy().added_units(64, 64) == 0


def everything_set():
    return GrowthPolicy(
        chunk_growth=1.2,
        width_multiple=16,
        trigger={"kind": "gap", "max_wait": None},
        layer_selection={"kind": "probe", "steps": 5},
        initialization={"kind": "paired", "variance_rescaling": False},
        freeze={"kind": "thaw", "hold_samples": 3},
        new_unit_lr="cohort",
        connection_ramp_steps=100,
        min_gain=0.01,
        grow_until=0.8,
        limits={"max_parameters": 10_000, "max_latency_ms": 2.5},
        depth={"stages": ["stages.0", "stages.1"], "trigger": "schedule", "max_blocks": 12},
    )


@pytest.mark.parametrize("policy", [default_policy(), static_policy(), thesis_policy(100), everything_set()])
def test_file_round_trip(policy, tmp_path):
    full = policy.model_copy(
        update={"training": TrainingSettings(learning_rate=0.02), "found_by": {"study": "s", "trial": 3}}
    )
    full.save(tmp_path / "policy.yaml")
    assert GrowthPolicy.load(tmp_path / "policy.yaml") == full


def test_a_file_of_the_first_version_loads_with_everything_new_switched_off(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(
        """format: autogrow-policy/1
initial_fraction: 0.2
chunk_fraction: 0.4
max_fraction: 1.0
trigger: {kind: plateau, metric: train_loss, window: 5, patience: 5, min_delta: 0.002, cooldown: 2, max_wait: 20}
layer_selection: {kind: activation_std, fraction: 0.5}
initialization: zero_fan_out
freeze: {kind: none}
optimizer_state: carry
training: {epochs: 3, learning_rate_schedule: cosine}
found_by: {study: digits-1, trial: 12}
"""
    )
    policy = GrowthPolicy.load(path)
    assert policy == GrowthPolicy(
        initial_fraction=0.2,
        chunk_fraction=0.4,
        layer_selection={"kind": "activation_std", "fraction": 0.5},
        training=TrainingSettings(epochs=3, learning_rate_schedule="cosine"),
        found_by={"study": "digits-1", "trial": 12},
    )
    assert (policy.chunk_growth, policy.new_unit_lr, policy.connection_ramp_steps) == (1.0, 1.0, 0)
    assert (policy.min_gain, policy.grow_until, policy.limits.is_set, policy.depth) == (None, 1.0, False, None)


@pytest.mark.parametrize("factor", [0.5, 1, 100.0, "cohort"])
def test_new_units_may_have_a_learning_rate_of_their_own(factor):
    policy = GrowthPolicy(new_unit_lr=factor)
    assert GrowthPolicy.from_dict(policy.recipe()).new_unit_lr == factor


@pytest.mark.parametrize("schedule", ["constant", "cosine", "constant_then_cosine", "constant_then_decay"])
def test_learning_rate_schedules_survive_a_file(schedule, tmp_path):
    GrowthPolicy(training=TrainingSettings(learning_rate_schedule=schedule)).save(tmp_path / "policy.yaml")
    assert GrowthPolicy.load(tmp_path / "policy.yaml").training.learning_rate_schedule == schedule


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("format: autogrow-policy/1\nchunk_fracton: 0.2\n", ["unknown field 'chunk_fracton'", "'chunk_fraction'"]),
        (
            "format: autogrow-policy/1\nchunk_fraction: 1.5\n",
            ["chunk_fraction is 1.5", "give a number above 0 and at most 1"],
        ),
        ("format: autogrow-policy/1\ninitial_fraction: .nan\n", ["initial_fraction"]),
        ("format: autogrow-policy/1\ninitial_fraction: 0.5\nmax_fraction: 0.2\n", ["0.5", "above max_fraction 0.2"]),
        ("format: autogrow-policy/1\ninitialization: he\n", ["unknown initialization 'he'", "zero_fan_out"]),
        ("format: autogrow-policy/1\ntraining: {learning_rat: 1}\n", ["'training.learning_rat'", "'learning_rate'"]),
        ("format: autogrow-policy/1\nlimits: {max_parameter: 1}\n", ["limits.max_parameter", "'max_parameters'"]),
        (
            "format: autogrow-policy/1\nlimits: {max_flops: 0}\n",
            ["limits.max_flops is 0", "give a number above 0"],
        ),
        ("format: autogrow-policy/1\nnew_unit_lr: fast\n", ["new_unit_lr is 'fast'", "at most 100", "'cohort'"]),
        ("format: autogrow-policy/1\nnew_unit_lr: 101\n", ["new_unit_lr is 101", "at most 100"]),
        ("format: autogrow-policy/1\nnew_unit_lr: true\n", ["new_unit_lr is True"]),
        ("format: autogrow-policy/1\nnew_unit_lr: .nan\n", ["new_unit_lr is nan"]),
        ("format: autogrow-policy/1\nwidth_multiple: 0\n", ["width_multiple is 0"]),
        ("format: autogrow-policy/1\ninitialization: {kind: split, noise: 2}\n", ["'split': noise is 2"]),
        ("format: autogrow-policy/1\ndepth: {kind: block}\n", ["unknown depth growth 'block'", "'blocks'"]),
        ("format: autogrow-policy/2\n", ["'autogrow-policy/2' is newer", "update"]),
        ("chunk_fraction: 0.2\n", ["format is None", "autogrow-policy/1"]),
        ("format: autogrow-policy/1\na: &x 1\nb: *x\n", ["aliases"]),
        ("format: !!python/object/apply:os.system [ls]\n", ["line 1", "YAML tags"]),
        ("- 1\n", ["mapping"]),
        ("a: [1\n", ["not valid YAML at line"]),
        ("x" * 70_000, ["70000 bytes", "at most 65536"]),
        ("a: " + "[" * 1500, ["policy.yaml"]),
    ],
)
def test_bad_files_say_what_is_wrong_in_one_line(text, parts, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        GrowthPolicy.load(path)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_missing_file_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"policy\.yaml: cannot read the policy file: No such file"):
        GrowthPolicy.load(tmp_path / "policy.yaml")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "policy.yaml"
    default_policy().save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _raise_no_space)
    with pytest.raises(Exception, match=f"no space left to write {path}"):
        static_policy().save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy.yaml"]


def _raise_no_space(descriptor):
    raise OSError(28, "No space left on device")


WRONG = {
    "unknown": (GrowthPolicy, {"inital_fraction": 0.5}, "unknown field 'inital_fraction'.*mean 'initial_fraction'"),
    "unknown inside": (GrowthPolicy, {"limits": {"max_params": 5}}, "limits.max_params'.*mean 'max_parameters'"),
    "unknown in a kind": (GrowthPolicy, {"trigger": {"kind": "plateau", "windo": 5}}, "windo'.*mean 'window'"),
    "unknown kind": (GrowthPolicy, {"trigger": "platau"}, "unknown trigger 'platau'.*mean 'plateau'"),
    "type": (GrowthPolicy, {"chunk_fraction": "much"}, "is 'much': give a number above 0 and at most 1$"),
    "range": (GrowthPolicy, {"initial_fraction": 0.0}, "is 0.0: give a number above 0 and at most 1$"),
    "together": (GrowthPolicy, {"initial_fraction": 0.9, "max_fraction": 0.5}, "0.9 is above max_fraction 0.5"),
    "training": (TrainingSettings, {"epoch": 5}, "unknown field 'epoch'.*mean 'epochs'"),
    "limits": (SizeLimits, {"max_parameter": 5}, "unknown field 'max_parameter'.*mean 'max_parameters'"),
    "execution": (Execution, {"precision": "float8"}, "precision is 'float8': give 'auto', 'float32' or"),
    "part": (Plateau, {"window": -1}, "window is -1: give a whole number from 1 to 10000$"),
    "missing": (SearchSettings, {"dataset": "digits"}, "field 'data_dir' is missing"),
}


@pytest.mark.parametrize(("record", "fields", "message"), WRONG.values(), ids=WRONG)
def test_constructors_say_what_is_wrong_in_one_line(record, fields, message):
    with pytest.raises(PolicyError, match=message) as error:
        record(**fields)
    assert str(error.value).startswith(f"{record.__name__}: ")
    assert "\n" not in str(error.value)


def test_constructors_take_names():
    with pytest.raises(PolicyError, match=r"write GrowthPolicy\(name=value\)"):
        GrowthPolicy(0.5)
