"""How fast text is trained on: `gpt` at full depth by the trainer, beside plain loops over it and over GPT-2.

All train the same sizes on the same text with fused AdamW, weight decay on matrices, clipped gradients and the same
learning rate, in the same precision: float32 on a CPU; on a GPU bfloat16, the trainer also with captured graphs, which
are a part of it. They take turns (A B C A B C): the trainer's turn is what it trains between two samples.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autogrow.data.opening import open_dataset
from autogrow.data.splits import ValidationSplit
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.presets import static_policy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_of
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import Setting
from tests.benchmarks.table import Row
from tests.benchmarks.timing import in_words
from tests.benchmarks.training import Rounds, Turn, take_turn

CONTEXT, BATCH, LAYERS, WIDTH, HEADS = 128, 32, 6, 128, 4
SEED = 0
RATE, BETAS, DECAY, LARGEST_NORM = 4e-3, (0.9, 0.95), 0.1, 1.0
TRAINER, PLAIN, HUGGING_FACE = "autogrow", "plain loop", "GPT2LMHeadModel"
INSTALLING = "pip install transformers  (it brings no other PyTorch)"


def rows(setting: Setting) -> Iterator[Row]:
    """Tokens per second of all, and the trainer's against each of the others."""
    dataset = open_dataset("stdlib", setting.data_dir)
    data = training_text(dataset)
    layers = setting.choose(cpu=LAYERS, gpu=LAYERS, quick=1)
    spec = ModelSpec("gpt", {"layers": layers, "width": WIDTH, "heads": HEADS})

    def module() -> nn.Module:
        return build_model(spec, (CONTEXT,), dataset.num_outputs, SEED).to(setting.device)

    others = {PLAIN: PlainTextLoop(module(), data, setting)}
    gpt2 = _hugging_face(layers, dataset.num_outputs)
    if gpt2 is not None:
        others[HUGGING_FACE] = PlainTextLoop(gpt2.to(setting.device), data, setting, lambda found: found.logits)
    network = ExpandableNetwork(module(), example_of(dataset, setting.device), verify=False)
    found = measure_turns(network, data, others, setting)
    sizes = f"{layers} layers, width {WIDTH}, context {CONTEXT}, batch {BATCH}, {torch.get_num_threads()} threads"
    for name in found.turns:
        rates = [turn.rate * CONTEXT for turn in found.counted(name)]
        yield Row(f"{name}: {sizes}", f"{in_words(rates, 0)} tokens/s", "", None)
    for name, goal in ((PLAIN, 1.0), (HUGGING_FACE, 1.1)):
        what = f"autogrow / {name}"
        if name not in found.turns:
            yield Row(what, f"transformers is not installed: {INSTALLING}", f"at least {goal}", None)
            continue
        ratios = found.ratios(TRAINER, name)
        yield Row(what, in_words(ratios), f"at least {goal}", round(statistics.median(ratios), 2) >= goal)


def measure_turns(
    network: ExpandableNetwork, data: TrainingData, others: "dict[str, PlainTextLoop]", setting: Setting
) -> Rounds:
    """Turns of equally many steps; the first round warms up and is not counted."""
    steps = setting.choose(cpu=4, gpu=100, quick=1)
    rounds = setting.choose(cpu=12, gpu=5, quick=1)
    found = Rounds()
    before = 0, 0.0

    def take_turns(sample: Sample) -> Signal:
        nonlocal before
        found.add(TRAINER, Turn((sample.step - before[0]) * BATCH, sample.train_seconds - before[1]))
        before = sample.step, sample.train_seconds
        for name, loop in others.items():
            found.add(name, take_turn(loop.step, steps, setting))
        return Signal.STOP if len(found.turns[TRAINER]) > rounds else Signal.CONTINUE

    settings = TrainingSettings(
        epochs=1, steps=(rounds + 2) * steps, batch_size=BATCH, optimizer="adamw", learning_rate=RATE, betas=BETAS,
        weight_decay=DECAY, weight_decay_of="matrices", max_gradient_norm=LARGEST_NORM,
        sample_every=steps, sample_size=1,
    )  # fmt: skip
    Trainer(network, data, static_policy(), settings, seed=SEED, device=setting.device, on_sample=take_turns).run()
    return found


class PlainTextLoop:
    """The loop of every small GPT: random windows of tokens that are in memory, a module, fused AdamW."""

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        setting: Setting,
        logits_of: Callable[[Any], Tensor] = lambda found: found,
    ) -> None:
        self._module, self._logits_of, self._setting = module.train(), logits_of, setting
        self._tokens = torch.from_numpy(data.train.streams[0].copy()).to(setting.device)
        matrices = [parameter for parameter in module.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in module.parameters() if parameter.dim() < 2]
        groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, fused=True)

    def batch(self) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(self._tokens) - CONTEXT, (BATCH,)).tolist()
        windows = torch.stack([self._tokens[start : start + CONTEXT + 1] for start in starts]).long()
        return windows[:, :-1], windows[:, 1:]

    def step(self) -> int:
        """One training step; the number of windows it saw."""
        inputs, targets = self.batch()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self._setting.device.type, torch.bfloat16, enabled=self._setting.is_gpu):
            logits = self._logits_of(self._module(inputs))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self._module.parameters(), LARGEST_NORM)
        self._optimizer.step()
        return len(inputs)


def training_text(dataset: Any) -> TrainingData:
    """The training text, and one window of validation, since reading metrics is not what is measured."""
    train, validation = dataset.split(seed=SEED)
    stream = validation.streams[0][: CONTEXT + 1]
    held_out = ValidationSplit(validation.inputs[:1], validation.targets[:1], validation.indices[:1], (stream,))
    return TrainingData.of(dataset, train, held_out)


def _hugging_face(layers: int, num_tokens: int) -> nn.Module | None:
    """GPT-2 of the same sizes without dropout, its attention PyTorch's own; None where transformers is not there."""
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError:
        return None
    config = GPT2Config(
        vocab_size=num_tokens, n_positions=CONTEXT, n_embd=WIDTH, n_layer=layers, n_head=HEADS, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa",
    )  # fmt: skip
    return GPT2LMHeadModel(config)
