import json
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import FixedTrial

from autogrow.errors import PolicyError
from autogrow.policy.depth import DEPTH_GROWTHS
from autogrow.policy.freezing import FREEZINGS
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.initializations import INITIALIZATIONS
from autogrow.policy.layer_selection import LAYER_SELECTIONS
from autogrow.policy.limits import SizeLimits
from autogrow.policy.presets import default_depth_policy
from autogrow.policy.training_settings import TrainingSettings, text_training
from autogrow.policy.triggers import TRIGGERS
from autogrow.study.search_space import FORMAT, SearchSpace, find_space

BASE = TrainingSettings(epochs=7, batch_size=32)
SHIPPED = ("block", "default", "depth", "methods", "quick", "thesis")
TWO_TRIGGERS = {
    "trigger": [
        {"kind": "plateau", "window": {"low": 2, "high": 6}, "cooldown": 3},
        {"kind": "schedule", "every": {"low": 4, "high": 20}},
    ]
}


def space_of(policy=None, training=None):
    sections = {"policy": policy, "training": training}
    return SearchSpace({"format": FORMAT, **{k: v for k, v in sections.items() if v is not None}}, "space")


def asked_for(space, seed=0, number=1):
    """The suggestions of a seeded random study, with the parameters that Optuna recorded for each."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trials = [study.ask() for _ in range(number)]
    return [(space.suggest(trial, BASE), trial.params) for trial in trials]


def test_a_suggestion_takes_the_values_that_the_trial_has():
    space = space_of({"chunk_fraction": {"low": 0.1, "high": 0.5}}, {"learning_rate": {"low": 1e-4, "high": 1e-2}})
    policy, training = space.suggest(FixedTrial({"chunk_fraction": 0.3, "training.learning_rate": 0.005}), BASE)
    assert policy == GrowthPolicy(chunk_fraction=0.3)
    assert training == BASE.model_copy(update={"learning_rate": 0.005})


def test_what_is_not_named_keeps_its_default_and_plain_values_are_taken():
    space = space_of({"chunk_fraction": [0.1, 0.2], "max_fraction": 0.75, "trigger": {"kind": "schedule", "every": 9}})
    policy, training = space.suggest(FixedTrial({"chunk_fraction": 0.2}), BASE)
    schedule = {"kind": "schedule", "every": 9}
    assert policy == GrowthPolicy(chunk_fraction=0.2, max_fraction=0.75, trigger=schedule)
    assert training == BASE


@pytest.mark.parametrize(
    ("given_parameters", "trigger"),
    [
        ({"trigger.kind": "plateau", "trigger.plateau.window": 4}, {"kind": "plateau", "window": 4, "cooldown": 3}),
        ({"trigger.kind": "schedule", "trigger.schedule.every": 17}, {"kind": "schedule", "every": 17}),
    ],
)
def test_only_the_fields_of_the_chosen_alternative_are_asked_for(given_parameters, trigger):
    trial = FixedTrial(given_parameters)
    policy, _ = space_of(TWO_TRIGGERS).suggest(trial, BASE)
    assert policy == GrowthPolicy(trigger=trigger)
    assert trial.params == given_parameters


def test_a_single_alternative_needs_no_choice_of_kind():
    space = space_of({"trigger": [{"kind": "schedule", "every": {"low": 4, "high": 20}}]})
    [(_, parameters)] = asked_for(space)
    assert list(parameters) == ["trigger.schedule.every"]


def test_whole_numbers_at_both_ends_make_a_range_of_integers():
    every = {"low": 4, "high": 20, "step": 8}
    suggestions = asked_for(space_of({"trigger": {"kind": "schedule", "every": every}}), number=30)
    assert {policy.trigger.every for (policy, _), _ in suggestions} == {4, 12, 20}


def test_parameters_are_called_by_their_path():
    space = SearchSpace.load(find_space("default"))
    names = {name for _, parameters in asked_for(space, number=50) for name in parameters}
    assert {"initial_fraction", "trigger.kind", "trigger.plateau.min_delta", "trigger.schedule.every"} <= names
    assert {"layer_selection.round_robin.fraction", "connection_ramp_steps", "training.learning_rate"} <= names


class TestSections:
    section = {"depth": {"blocks_per_event": {"low": 1, "high": 3}, **TWO_TRIGGERS}}
    alternatives = {"depth": [{"kind": "none"}, {"kind": "blocks", **section["depth"]}]}

    def test_parameters_of_a_section_are_called_by_their_path(self):
        parameters = {
            "depth.blocks_per_event": 2,
            "depth.trigger.kind": "plateau",
            "depth.trigger.plateau.window": 4,
        }
        trial = FixedTrial(parameters)
        policy, _ = space_of(self.section).suggest(trial, BASE)
        trigger = {"kind": "plateau", "window": 4, "cooldown": 3}
        assert policy == GrowthPolicy(depth={"blocks_per_event": 2, "trigger": trigger})
        assert trial.params == parameters

    def test_depth_growth_may_be_left_out(self):
        trial = FixedTrial({"depth.kind": "none"})
        policy, _ = space_of(self.alternatives).suggest(trial, BASE)
        assert policy == GrowthPolicy()
        assert trial.params == {"depth.kind": "none"}

    def test_alternatives_inside_an_alternative_are_searched_when_it_is_chosen(self):
        parameters = {
            "depth.kind": "blocks",
            "depth.blocks.blocks_per_event": 3,
            "depth.blocks.trigger.kind": "schedule",
            "depth.blocks.trigger.schedule.every": 5,
        }
        trial = FixedTrial(parameters)
        policy, _ = space_of(self.alternatives).suggest(trial, BASE)
        assert policy == GrowthPolicy(depth={"blocks_per_event": 3, "trigger": {"kind": "schedule", "every": 5}})
        assert trial.params == parameters

    def test_names_of_stages_are_a_value_and_no_choice(self):
        space = space_of({"depth": {**self.section["depth"], "stages": ["stages.0", "stages.2"]}})
        for (policy, _), parameters in asked_for(space, number=5):
            assert policy.depth.stages == ("stages.0", "stages.2")
            assert "depth.stages" not in parameters

    def test_limits_may_be_fixed_or_searched(self):
        space = space_of({"limits": {"max_parameters": [1000, 2000], "max_flops": 1e6}})
        policy, _ = space.suggest(FixedTrial({"limits.max_parameters": 2000}), BASE)
        assert policy.limits == SizeLimits(max_parameters=2000, max_flops=1e6)

    def test_a_value_may_be_none(self):
        space = space_of({"min_gain": [None, 0.05]})
        assert {policy.min_gain for (policy, _), _ in asked_for(space, number=30)} == {None, 0.05}


@pytest.mark.parametrize(
    ("parameters", "initialization"),
    [
        ({"initialization.kind": "zero_fan_out"}, "zero_fan_out"),
        (
            {"initialization.kind": "paired", "initialization.paired.variance_rescaling": False},
            {"kind": "paired", "variance_rescaling": False},
        ),
    ],
)
def test_initializations_may_have_parameters(parameters, initialization):
    space = space_of(
        {"initialization": [{"kind": "zero_fan_out"}, {"kind": "paired", "variance_rescaling": [True, False]}]}
    )
    trial = FixedTrial(parameters)
    policy, _ = space.suggest(trial, BASE)
    assert policy == GrowthPolicy(initialization=initialization)
    assert trial.params == parameters


def test_initializations_may_be_a_list_of_names():
    policy, _ = space_of({"initialization": ["xavier", "paired"]}).suggest(
        FixedTrial({"initialization": "paired"}), BASE
    )
    assert policy == GrowthPolicy(initialization="paired")


class TestShares:
    content = {
        "max_fraction": {"low": 0.15, "high": 1.0, "log": True},
        "initial_fraction": {"low": 0.25, "high": 1.0, "step": 0.25, "of": "max_fraction"},
        "chunk_fraction": {"low": 0.25, "high": 0.75, "of": "max_fraction"},
    }

    def test_a_share_is_multiplied_out(self):
        parameters = {"max_fraction": 0.4, "initial_fraction": 0.5, "chunk_fraction": 0.25}
        policy, _ = space_of(self.content).suggest(FixedTrial(parameters), BASE)
        assert (policy.max_fraction, policy.initial_fraction, policy.chunk_fraction) == (0.4, 0.2, 0.1)

    def test_a_network_may_be_at_its_maximum_from_the_first_step(self):
        parameters = {"max_fraction": 0.3, "initial_fraction": 1.0, "chunk_fraction": 0.25}
        policy, _ = space_of(self.content).suggest(FixedTrial(parameters), BASE)
        assert not policy.grows

    def test_a_share_of_a_default(self):
        space = space_of({"initial_fraction": {"low": 0.25, "high": 0.5, "of": "max_fraction"}})
        policy, _ = space.suggest(FixedTrial({"initial_fraction": 0.3}), BASE)
        assert policy.initial_fraction == 0.3

    def test_every_proposal_is_valid(self):
        starts = {
            round(p.initial_fraction / p.max_fraction, 9) for (p, _), _ in asked_for(space_of(self.content), number=200)
        }
        assert starts == {0.25, 0.5, 0.75, 1.0}


REGISTRIES = {
    "trigger": TRIGGERS,
    "layer_selection": LAYER_SELECTIONS,
    "initialization": INITIALIZATIONS,
    "freeze": FREEZINGS,
    "depth": DEPTH_GROWTHS,
    "depth.blocks.trigger": TRIGGERS,
}
"""Of what grows; how a network is shrunk has a space of its own."""

GOES_BY_COMPUTE = {"compute_shares"}
"""Triggers that need a run whose length is compute, which is no choice of a space."""


@pytest.mark.slow
@pytest.mark.parametrize("field", REGISTRIES)
def test_every_registered_method_is_in_the_space_of_methods(field):
    proposals = asked_for(SearchSpace.load(find_space("methods")), number=200)
    proposed = {parameters[f"{field}.kind"] for _, parameters in proposals if f"{field}.kind" in parameters}
    assert proposed == set(REGISTRIES[field]) - GOES_BY_COMPUTE


def test_what_goes_by_compute_is_in_the_space_of_depth():
    space = SearchSpace.load(find_space("depth"))
    proposals = asked_for(space, number=60)
    triggers = [policy.depth.trigger for (policy, _), _ in proposals]
    assert {trigger.kind for trigger in triggers} == GOES_BY_COMPUTE
    assert len({trigger.first for trigger in triggers}) > 30
    assert {policy.depth.initialization.kind for (policy, _), _ in proposals} >= {"stack", "interleave", "copy_last"}


def test_a_first_point_of_the_space_of_depth_is_the_default_policy_at_another_rate():
    """At its own rate it is a control of every search, and need not be trained twice."""
    space, default = SearchSpace.load(find_space("depth")), default_depth_policy()
    policy, training = space.suggest(FixedTrial(dict(space.first_points[1])), text_training(500))
    shares = [policy.depth.trigger.first * policy.depth.trigger.ratio**number for number in range(3)]
    assert shares == pytest.approx(default.depth.trigger.shares, rel=0.03)
    same = {"trigger": default.depth.trigger}
    assert policy.model_copy(update={"depth": policy.depth.model_copy(update=same)}) == default.model_copy(
        update={"chunk_fraction": policy.chunk_fraction}
    )
    assert training == text_training(500).model_copy(update={"learning_rate": 0.012})


def test_the_default_space_leaves_out_what_is_dear_at_every_event():
    content = str(SearchSpace.load(find_space("default")).content)
    assert "probe" not in content and "tiny" not in content


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_proposal_of_a_shipped_space_is_valid_and_survives_a_file(name, tmp_path):
    for (policy, training), parameters in asked_for(SearchSpace.load(find_space(name)), number=200):
        saved = policy.model_copy(update={"training": training})
        saved.save(tmp_path / "policy.yaml")
        assert GrowthPolicy.load(tmp_path / "policy.yaml") == saved
        assert GrowthPolicy.from_dict(json.loads(json.dumps(policy.recipe()))) == policy
        assert (training.epochs, training.batch_size) == (BASE.epochs, BASE.batch_size)
        assert policy.grows or name == "default"  # in which a network may be at its maximum from the first step
        assert parameters


@pytest.mark.parametrize("name", SHIPPED)
def test_a_suggestion_repeats_from_its_recorded_parameters(name):
    space = SearchSpace.load(find_space(name))
    for suggestion, parameters in asked_for(space, number=20):
        assert space.suggest(FixedTrial(parameters), BASE) == suggestion


def test_the_content_of_a_space_makes_the_same_space_again():
    space = SearchSpace.load(find_space("default"))
    again = SearchSpace(json.loads(json.dumps(space.content)), "config.yaml")
    assert asked_for(again, number=5) == asked_for(space, number=5)


RANGE = {"low": 0.1, "high": 0.5}
BAD_SPACES = {
    "inverted": ({"chunk_fraction": {"low": 0.5, "high": 0.1}}, None, "policy.chunk_fraction: low 0.5 is not below"),
    "inverted in a part": (
        {"trigger": {"kind": "plateau", "window": {"low": 8, "high": 3}}},
        None,
        "policy.trigger.plateau.window: low 8",
    ),
    "no width": ({"chunk_fraction": {"low": 0.2, "high": 0.2}}, None, "policy.chunk_fraction: low 0.2"),
    "impossible high": ({"chunk_fraction": {"low": 0.5, "high": 1.5}}, None, "chunk_fraction is 1.5"),
    "impossible low": ({"chunk_fraction": {"low": 0.0, "high": 0.5}}, None, "chunk_fraction is 0.0"),
    "impossible choice": ({"initialization": ["xavier", "zero_fan_in"]}, None, "did you mean 'zero_fan_out'"),
    "impossible in a part": ({"trigger": {"kind": "plateau", "window": {"low": 0, "high": 3}}}, None, "window is 0"),
    "impossible training": (None, {"learning_rate": {"low": 1.0, "high": 1e3}}, "training: learning_rate is 1000.0"),
    "fractions for whole numbers": (
        {"trigger": {"kind": "plateau", "window": {"low": 2.0, "high": 8.0}}},
        None,
        "window is",
    ),
    "fractions for whole numbers in training": (
        None,
        {"batch_size": {"low": 32.0, "high": 64.0}},
        "training: batch_size is",
    ),
    "unknown field": ({"chunk_fracton": RANGE}, None, "did you mean 'chunk_fraction'"),
    "unknown field of a part": (
        {"trigger": {"kind": "plateau", "windw": RANGE}},
        None,
        "trigger 'plateau': unknown field 'windw'",
    ),
    "unknown training field": (None, {"learning_rat": RANGE}, "did you mean 'learning_rate'"),
    "unknown kind": ({"trigger": {"kind": "platau", "window": RANGE}}, None, "did you mean 'plateau'"),
    "unknown key of a range": ({"chunk_fraction": {"low": 0.1, "hihg": 0.5}}, None, "did you mean 'high'"),
    "empty list": ({"chunk_fraction": []}, None, "policy.chunk_fraction: an empty list"),
    "choice twice": ({"chunk_fraction": [0.2, 0.3, 0.2]}, None, "policy.chunk_fraction: a choice stands twice"),
    "kind twice": (
        {"trigger": [{"kind": "plateau"}, {"kind": "plateau", "window": {"low": 3, "high": 5}}]},
        None,
        "policy.trigger: kind 'plateau' stands twice",
    ),
    "mixed choices": ({"trigger": ["plateau", {"kind": "schedule"}]}, None, "policy.trigger: choices are either"),
    "alternative without a kind": (
        {"trigger": [{"window": 3}]},
        None,
        "policy.trigger: every alternative needs a kind",
    ),
    "alternatives too deep": (
        {"depth": {"kind": "blocks", "trigger": {"kind": "plateau", "metric": {"kind": "plateau"}}}},
        None,
        "policy.depth.blocks.trigger.plateau.metric: alternatives inside",
    ),
    "a part for a plain value": (
        {"trigger": {"kind": "plateau", "metric": {"kind": "plateau"}}},
        None,
        "trigger 'plateau': metric is {'kind': 'plateau'}",
    ),
    "log from 0": ({"chunk_fraction": {"low": 0, "high": 0.5, "log": True}}, None, "a log range starts above 0"),
    "log with step": ({"chunk_fraction": {**RANGE, "log": True, "step": 0.1}}, None, "has no step"),
    "log is no truth value": ({"chunk_fraction": {**RANGE, "log": "yes please"}}, None, "log is 'yes please'"),
    "step too large": ({"chunk_fraction": {**RANGE, "step": 0.6}}, None, "policy.chunk_fraction: step 0.6"),
    "step of zero": ({"chunk_fraction": {**RANGE, "step": 0.0}}, None, "policy.chunk_fraction: step 0.0"),
    "broken step between whole numbers": (
        {"trigger": {"kind": "schedule", "every": {"low": 4, "high": 8, "step": 0.5}}},
        None,
        "policy.trigger.schedule.every: step 0.5",
    ),
    "NaN": ({"chunk_fraction": {"low": float("nan"), "high": 0.5}}, None, "policy.chunk_fraction: low is nan"),
    "infinite": (None, {"learning_rate": {"low": 0.1, "high": float("inf")}}, "training.learning_rate: high is inf"),
    "word for a number": ({"chunk_fraction": {"low": "small", "high": 0.5}}, None, "low is 'small'"),
    "one end only": ({"chunk_fraction": {"low": 0.1}}, None, "policy.chunk_fraction: a range needs low and high"),
    "starts above the maximum": (
        {"initial_fraction": {"low": 0.2, "high": 0.9}, "max_fraction": [0.5, 1.0]},
        None,
        "initial_fraction reaches 0.9, above the smallest max_fraction 0.5",
    ),
    "starts above the maximum, choices in any order": (
        {"initial_fraction": [0.2, 0.7, 0.3], "max_fraction": [0.5, 1.0, 0.75]},
        None,
        "initial_fraction reaches 0.7, above the smallest max_fraction 0.5",
    ),
    "a share of an unknown field": (
        {"initial_fraction": {**RANGE, "of": "chunk_fraction"}},
        None,
        "policy.initial_fraction: cannot be a share of 'chunk_fraction'; known are initial_fraction of max_fraction",
    ),
    "a field that is no share": (
        {"chunk_growth": {"low": 1.0, "high": 2.0, "of": "max_fraction"}},
        None,
        "policy.chunk_growth: cannot be a share of 'max_fraction'",
    ),
    "a share above the whole": (
        {
            "initial_fraction": {"low": 0.5, "high": 1.5, "of": "max_fraction"},
            "max_fraction": {"low": 0.2, "high": 0.6},
        },
        None,
        "initial_fraction",
    ),
    "unknown field of a section": ({"limits": {"max_parameter": [1, 2]}}, None, "did you mean 'max_parameters'"),
    "impossible in a section": (
        {"depth": {"blocks_per_event": {"low": 0, "high": 3}}},
        None,
        "depth growth 'blocks': blocks_per_event is 0",
    ),
    "impossible in an alternative inside": (
        {"depth": {"trigger": [{"kind": "plateau"}, {"kind": "slope", "window": {"low": 2, "high": 9}}]}},
        None,
        "trigger 'slope': window is 2",
    ),
    "inverted in a section": (
        {"depth": {"trigger": {"kind": "schedule", "every": {"low": 9, "high": 3}}}},
        None,
        "policy.depth.trigger.schedule.every: low 9",
    ),
    "depth starts above its maximum": (
        {"depth": {"initial_fraction": {"low": 0.2, "high": 0.9}, "max_fraction": [0.5, 1.0]}},
        None,
        "initial_fraction 0.9 is above max_fraction 0.5",
    ),
    "unknown depth growth": ({"depth": [{"kind": "none"}, {"kind": "block"}]}, None, "did you mean 'blocks'"),
    "a part and a name": ({"depth": ["none", {"kind": "blocks"}]}, None, "policy.depth: choices are either"),
    "one part without ranges": ({"trigger": {"kind": "schedule", "every": 9}}, None, "nothing to search"),
    "one choice": ({"chunk_fraction": [0.2], "limits": {"max_parameters": 9}}, None, "nothing to search"),
    "nothing to search": ({"chunk_fraction": 0.2}, None, "nothing to search"),
    "nothing at all": (None, None, "nothing to search"),
}


@pytest.mark.parametrize(("policy", "training", "message"), BAD_SPACES.values(), ids=BAD_SPACES.keys())
def test_a_bad_space_is_refused_in_one_line(policy, training, message):
    with pytest.raises(PolicyError) as caught:
        space_of(policy, training)
    assert message in str(caught.value)
    assert str(caught.value).startswith("space: ")
    assert "\n" not in str(caught.value)


BAD_FILES = {
    "newer format": (f"format: autogrow-space/2\npolicy: {{chunk_fraction: {RANGE}}}", "format is 'autogrow-space/2'"),
    "a policy": (f"format: autogrow-policy/1\npolicy: {{chunk_fraction: {RANGE}}}", "expected 'autogrow-space/1'"),
    "no format": (f"policy: {{chunk_fraction: {RANGE}}}", "format is None"),
    "unknown section": (f"format: {FORMAT}\npolcy: {{chunk_fraction: {RANGE}}}", "did you mean 'policy'"),
    "section without fields": (f"format: {FORMAT}\npolicy: 3", "section 'policy' is a mapping"),
    "list": ("- 1\n- 2", "a search space is a YAML mapping"),
    "alias": (
        f"format: {FORMAT}\npolicy: &p {{chunk_fraction: {RANGE}}}\ntraining: *p",
        "line 2: YAML aliases (&name, *name) are not read",
    ),
    "broken YAML": (f"format: {FORMAT}\npolicy: {{chunk_fraction: [0.1", "not valid YAML at line"),
    "code": (f"format: {FORMAT}\npolicy: !!python/object/apply:os.getcwd []", "line 2: YAML tags"),
    "deep": ("[" * 1000 + "]" * 1000, "nested more than 32 levels deep"),
    "too large": (f"format: {FORMAT}\n# " + "x" * 70_000, "a search space has at most 65536"),
    "not text": (b"\xff\xfe\x00", "is not UTF-8 text"),
    "empty": ("", "a search space is a YAML mapping"),
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_refused_in_one_line_that_names_it(content, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PolicyError) as caught:
        SearchSpace.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_may_say_not_a_number_in_no_way(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"format: {FORMAT}\npolicy: {{chunk_fraction: .nan, max_fraction: [0.5, 1.0]}}")
    with pytest.raises(PolicyError, match="chunk_fraction is nan"):
        SearchSpace.load(path)


@pytest.mark.parametrize("name", [*SHIPPED, "search_spaces/default.yaml"])
def test_a_shipped_space_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_space(name).is_file()


def test_a_users_file_goes_before_a_shipped_one_of_that_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = Path("search_spaces/default.yaml")
    mine.parent.mkdir()
    mine.write_text(yaml.safe_dump({"format": FORMAT, "policy": {"chunk_fraction": RANGE}}))
    assert find_space(str(mine)).samefile(mine)


@pytest.mark.parametrize("name", ["defalt", "defalt.yaml"])
def test_an_unknown_space_names_those_that_exist(name):
    known = "shipped are block, default, depth, grow-then-shrink, methods, quick, thesis"
    with pytest.raises(PolicyError, match=f"{known}.*did you mean 'default'"):
        find_space(name)
