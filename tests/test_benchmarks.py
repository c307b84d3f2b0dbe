"""The harness of the benchmarks: every part can be reached, and what is compared does equal work. Nothing is timed."""

import ast
import copy
import json
import os
import re
import subprocess
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autogrow.data import Dataset
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.training.example_input import example_of
from tests.benchmarks import __main__ as command
from tests.benchmarks import parts, text, training
from tests.benchmarks.growing import event_costs
from tests.benchmarks.parts import PARTS, Part
from tests.benchmarks.setting import Setting
from tests.benchmarks.static_steps import PADDING, AugmentedImages, HandBuiltStep, PlainLoop, ResidentImages
from tests.benchmarks.table import Row
from tests.benchmarks.timing import exponent
from tests.benchmarks.training_runs import Run, full_module
from tests.training.runs import data

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
QUICK = Setting(CPU, quick=True)
SPEC = ModelSpec("resnet", {"depth": 8, "width": 4})
BENCHMARKS = Path(parts.__file__).parent
GPU_SCRIPT = BENCHMARKS / "gpu.sh"


@pytest.fixture(scope="module")
def images():
    return data(augmentation="pad_crop_flip", train_size=256)


def functions_that_give_rows():
    """Public module-level functions named `rows` or `..._rows`, by module."""
    for path in BENCHMARKS.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            is_public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if is_public and (node.name == "rows" or node.name.endswith("_rows")):
                yield path.stem, node.name


@pytest.mark.slow
def test_every_function_that_gives_rows_is_a_part():
    helpers = {
        ("table", "print_rows"),
        ("table", "write_rows"),
        ("retrained_policies", "retrained_rows"),
        ("shrink_rows", "table_rows"),
    }
    registered = {(part.module, part.function) for part in PARTS.values()}
    assert set(functions_that_give_rows()) - helpers - registered <= {("executions", "rows")}


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part.on_any_device])
def test_a_part_for_any_device_takes_a_setting(name):
    function = getattr(import_module(f"tests.benchmarks.{PARTS[name].module}"), PARTS[name].function)
    assert function.__annotations__["setting"] is Setting


@pytest.mark.slow
def test_the_trainer_the_plain_loop_and_the_hand_built_step_do_equal_work(images):
    plain = PlainLoop(full_module(SPEC, images), images, training.BATCH, CPU, num_workers=0)
    by_hand = HandBuiltStep(full_module(SPEC, images), images, training.BATCH, CPU)
    found = training.measure_rounds(Run(SPEC, images, CPU), plain, by_hand, steps=2, rounds=2, setting=QUICK)
    turns = [turn for name in (training.TRAINER, training.PLAIN, training.BY_HAND) for turn in found.turns[name]]
    assert [turn.examples for turn in turns] == [2 * training.BATCH] * 9
    assert all(turn.seconds > 0 for turn in turns)
    ratios = found.ratios(training.TRAINER, training.PLAIN)
    assert len(ratios) == 2 and all(ratio > 0 for ratio in ratios)


def test_each_of_them_learns(images):
    for build in (
        lambda module: PlainLoop(module, images, 128, CPU, 0),
        lambda module: HandBuiltStep(module, images, 128, CPU),
    ):
        module = full_module(SPEC, images)
        contender = build(module)
        before = {name: value.clone() for name, value in module.named_parameters()}
        assert contender.step() == 128
        assert all(not torch.equal(before[name], value) for name, value in module.named_parameters())


def variants(image, normalization):
    """Every crop of one stored image, mirrored or not, normalized: (162, C, H, W)."""
    _, height, width = image.shape
    padded = F.pad(image.float() / 255, (PADDING,) * 4)
    shifts = range(2 * PADDING + 1)
    crops = torch.stack([padded[:, top : top + height, left : left + width] for top in shifts for left in shifts])
    both = torch.cat([crops, crops.flip(-1)])
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std))
    return (both - mean) / std


def test_both_augment_as_torchvision_does(images):
    one_by_one, resident = AugmentedImages(images), ResidentImages(images, CPU)
    indices = torch.arange(40)
    batch, targets = resident.batch(indices)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    seen = set()
    for index in range(40):
        single, target = one_by_one[index]
        assert target == targets[index] == images.train.targets[index]
        allowed = variants(torch.from_numpy(images.train.inputs[index]), images.normalization)
        for image in (single, batch[index]):
            distances = (allowed - image).abs().amax(dim=(1, 2, 3))
            assert distances.min() < 1e-5
            seen.add(int(distances.argmin()))
    assert len(seen) > 40  # of 80 draws from 162


@pytest.mark.slow
def test_a_growing_run_has_three_events_and_their_costs(images):
    costs = event_costs(Run(SPEC, images, CPU), steps_between=2, batch_size=16)
    assert len(costs) == 3
    assert all(cost.event > 0 and cost.usual_step > 0 for cost in costs)


def test_an_exponent_is_the_slope_of_the_logarithms():
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_rows_are_on_disk_before_the_part_ends(monkeypatch, tmp_path):
    def cut_off(setting):
        yield Row("first", "1", "", None)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Part, "rows", lambda part, setting: cut_off(setting))
    monkeypatch.setattr("sys.argv", ["benchmarks", "--quick", "step"])
    with pytest.raises(KeyboardInterrupt):
        command.main()
    written = json.loads((tmp_path / "results/benchmarks/step-quick.json").read_text())
    assert [row["what"] for row in written["rows"]] == ["first"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown part 'nothing'"),
        (["--quick", "search"], "part 'search' is measured on the CPU"),
        (["--gpu", "step"], "PyTorch sees no GPU here"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(monkeypatch, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match=message):
        command.main()


def test_the_script_for_a_gpu_host_runs_every_part_for_any_device_in_under_ten_minutes():
    calls = re.findall(r"^ *limited (\d+) (.*)$", GPU_SCRIPT.read_text(), re.MULTILINE)
    named = [words.split()[-1] for _, words in calls if "tests.benchmarks" in words]
    assert sorted(named) == sorted(name for name, part in PARTS.items() if part.on_any_device)
    assert sum(int(seconds) for seconds, _ in calls) < 590


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DEVICE": "tpu"}, "gpu.sh: DEVICE is 'tpu': give cuda or cpu"),
        ({"DEVICE": "cpu"}, "gpu.sh: AUTOGROW_DATA is not set"),
        ({"DEVICE": "cpu", "AUTOGROW_DATA": "/nowhere"}, "gpu.sh: AUTOGROW_DATA is /nowhere, which is no folder"),
        ({"AUTOGROW_DATA": "/", "PYTHON": "false"}, "gpu.sh: Python module torch cannot be imported"),
    ],
)
def test_the_script_says_in_one_line_what_is_missing(environment, message):
    inherited = {"PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", GPU_SCRIPT], env=inherited | environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_text_is_trained_on_in_equal_turns(monkeypatch, tmp_path):
    tokens = np.random.default_rng(0).integers(0, 9, 200 * text.CONTEXT)
    dataset = Dataset.from_tokens(tokens, context=text.CONTEXT, data_dir=tmp_path)
    spec = ModelSpec("gpt", {"layers": 1, "width": 16})
    data, module = text.training_text(dataset), build_model(spec, (text.CONTEXT,), 9, seed=0)
    network = ExpandableNetwork(module, example_of(dataset, CPU), verify=False)
    loop = text.PlainTextLoop(copy.deepcopy(module), data, QUICK)
    inputs, targets = loop.batch()
    assert inputs.shape == targets.shape == (text.BATCH, text.CONTEXT) and torch.equal(inputs[:, 1:], targets[:, :-1])
    found = text.measure_turns(network, data, {text.PLAIN: loop}, QUICK)
    assert [turn.examples for name in (text.TRAINER, text.PLAIN) for turn in found.turns[name]] == [text.BATCH] * 4
