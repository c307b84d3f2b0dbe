import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.errors import PolicyError
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.presets import default_policy, static_policy, thesis_policy
from autogrow.policy.training_settings import TrainingSettings

fractions = st.floats(0.01, 1.0)


@given(fractions, fractions, st.integers(1, 2000))
def test_growing_reaches_exactly_the_maximum_in_bounded_chunks(initial, chunk, full_width):
    policy = GrowthPolicy(initial_fraction=initial, chunk_fraction=chunk)
    width = policy.initial_width(full_width)
    events = 0
    while (added := policy.added_units(width, full_width)) > 0:
        assert added <= 1.5 * chunk * full_width + 2
        width += added
        events += 1
        assert events <= full_width
    assert width == full_width


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


@pytest.mark.parametrize("policy", [default_policy(), static_policy(), thesis_policy(100)])
def test_file_round_trip(policy, tmp_path):
    full = policy.model_copy(
        update={"training": TrainingSettings(learning_rate=0.02), "found_by": {"study": "s", "trial": 3}}
    )
    full.save(tmp_path / "policy.yaml")
    assert GrowthPolicy.load(tmp_path / "policy.yaml") == full


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("format: autogrow-policy/1\nchunk_fracton: 0.2\n", ["unknown field 'chunk_fracton'", "'chunk_fraction'"]),
        ("format: autogrow-policy/1\nchunk_fraction: 1.5\n", ["chunk_fraction is 1.5", "less than or equal to 1"]),
        ("format: autogrow-policy/1\ninitial_fraction: .nan\n", ["initial_fraction"]),
        ("format: autogrow-policy/1\ninitial_fraction: 0.5\nmax_fraction: 0.2\n", ["0.5", "above max_fraction 0.2"]),
        ("format: autogrow-policy/1\ninitialization: he\n", ["unknown initialization 'he'", "zero_fan_out"]),
        ("format: autogrow-policy/1\ntraining: {learning_rat: 1}\n", ["learning_rat"]),
        ("format: autogrow-policy/2\n", ["'autogrow-policy/2' is newer", "update"]),
        ("chunk_fraction: 0.2\n", ["format is None", "autogrow-policy/1"]),
        ("format: autogrow-policy/1\na: &x 1\nb: *x\n", ["aliases"]),
        ("format: !!python/object/apply:os.system [ls]\n", ["not valid YAML"]),
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
