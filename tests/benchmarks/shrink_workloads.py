"""What shrinking is compared on: trained networks of autogrow's and of Hugging Face's, all of them small.

Networks of `transformers` are wrapped, so that a tensor goes in and logits come out. BERT reads the pixels of 8x8
digits as 64 tokens of 17 kinds, ViT reads MNIST in 16 patches; GPT-2 (whose embedding is its head) and Llama (whose
heads share keys and values by twos) read text.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.data.dataset import Dataset
from autogrow.data.opening import open_dataset
from autogrow.data.preprocessing import Normalization
from autogrow.data.splits import ValidationSplit
from autogrow.models.building import ModelSpec, build_model
from autogrow.training.training_data import TrainingData

TEXT = "stdlib?mebibytes=1&context=64"
PIXEL_TOKENS = 17
HIDDEN, HEADS = 64, 4
MOST_VALIDATION = 1000


@dataclass(frozen=True)
class Workload:
    """A network, its data, and how it is trained and fine-tuned."""

    name: str
    dataset: str
    build: Callable[[Dataset, int], nn.Module]
    """From the data set and a seed."""
    output_layer: str
    """The layer whose units are the network's outputs."""
    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    train_size: int | None = None
    validation_fraction: float | None = None
    by_loss: bool = False
    """Whether networks are compared by their loss, not their accuracy."""
    is_convolutional: bool = False
    """Whether seconds and memory of a pass have a goal."""
    needs: str | None = None
    """The package that the network is from."""
    embeds_inputs: bool = False
    """Whether inputs are to be left as they are, from 0 to 1."""

    @property
    def fine_tuning_steps(self) -> int:
        """A quarter, as autogrow's own recoveries take."""
        return self.steps // 4

    def settings(self) -> dict[str, Any]:
        """What a result depends on, apart from the code."""
        return {
            "dataset": self.dataset, "train_size": self.train_size, "validation_fraction": self.validation_fraction,
            "most_validation": MOST_VALIDATION,
            "steps": self.steps, "fine_tuning_steps": self.fine_tuning_steps, "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }  # fmt: skip

    def data(self, dataset: Dataset, seed: int) -> TrainingData:
        train, validation = dataset.split(
            seed=seed, train_size=self.train_size, validation_fraction=self.validation_fraction
        )
        if not validation.streams:
            few = slice(MOST_VALIDATION)
            validation = ValidationSplit(validation.inputs[few], validation.targets[few], validation.indices[few])
        found = TrainingData.of(dataset, train, validation)
        return replace(found, normalization=Normalization(mean=(0.0,), std=(1.0,))) if self.embeds_inputs else found

    def open(self, data_dir: Path | None) -> Dataset:
        return open_dataset(self.dataset, data_dir)


class Logits(nn.Module):
    """A network of `transformers`: logits of a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs).logits
        return logits


class LogitsOfPixels(Logits):
    """The same, of images whose pixels, from 0 to 1, are taken for tokens."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward((inputs.flatten(1) * (PIXEL_TOKENS - 1)).round().long())


def _built_in(model: str, options: dict[str, Any]) -> Callable[[Dataset, int], nn.Module]:
    def build(dataset: Dataset, seed: int) -> nn.Module:
        return build_model(ModelSpec(model, options), dataset.input_shape, dataset.num_outputs, seed)

    return build


def _bert(dataset: Dataset, seed: int) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=PIXEL_TOKENS, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN, max_position_embeddings=64, num_labels=dataset.num_outputs, pad_token_id=None,
    )  # fmt: skip
    return LogitsOfPixels(BertForSequenceClassification(config))


def _gpt2(dataset: Dataset, seed: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=dataset.num_outputs, n_embd=HIDDEN, n_layer=4, n_head=HEADS, n_positions=dataset.input_shape[0],
        use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return Logits(GPT2LMHeadModel(config))


def _llama(dataset: Dataset, seed: int) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=dataset.num_outputs, hidden_size=HIDDEN, intermediate_size=176, num_hidden_layers=4,
        num_attention_heads=HEADS, num_key_value_heads=HEADS // 2, max_position_embeddings=dataset.input_shape[0],
        use_cache=False,
    )  # fmt: skip
    return Logits(LlamaForCausalLM(config))


def _vit(dataset: Dataset, seed: int) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=4 * HIDDEN,
        image_size=dataset.input_shape[1], patch_size=7, num_channels=1, num_labels=dataset.num_outputs,
    )  # fmt: skip
    return Logits(ViTForImageClassification(config))


_CONVNET = {"channels": (32, 64), "kernel_size": 5, "hidden": 256}
_GPT = {"layers": 4, "width": HIDDEN, "heads": HEADS}
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("mlp", "mnist", _built_in("mlp", {}), "7", steps=400, train_size=5000),
        Workload(
            "convnet", "mnist", _built_in("convnet", _CONVNET), "9", steps=300, train_size=5000, is_convolutional=True
        ),
        Workload(
            "gpt", TEXT, _built_in("gpt", _GPT), "head", steps=400, batch_size=32, learning_rate=2e-3,
            validation_fraction=0.03, by_loss=True,
        ),
        Workload(
            "resnet", "cifar100", _built_in("resnet", {"depth": 20, "width": 8}), "fc", steps=400, train_size=3000,
            learning_rate=2e-3, is_convolutional=True,
        ),
        Workload(
            "bert", "digits", _bert, "model.classifier", steps=400, needs="transformers", embeds_inputs=True,
        ),
        Workload("vit", "mnist", _vit, "model.classifier", steps=600, train_size=5000, needs="transformers"),
        Workload(
            "gpt2", TEXT, _gpt2, "model.lm_head", steps=400, batch_size=32, learning_rate=2e-3,
            validation_fraction=0.03, by_loss=True, needs="transformers",
        ),
        Workload(
            "llama", TEXT, _llama, "model.lm_head", steps=400, batch_size=32, learning_rate=2e-3,
            validation_fraction=0.03, by_loss=True, needs="transformers",
        ),
    )
}  # fmt: skip
"""By name, those first whose results say most for the time that they take."""
