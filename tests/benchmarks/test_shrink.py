"""The table of shrinking against Torch-Pruning, and what is looked at before a result counts."""

import time

import pytest
import torch
from torch import Tensor, nn

from autogrow.models.building import ModelSpec, build_model
from tests.benchmarks.shrink_peer import PeerFailedError, attention_layers, fault_of, tied_parameters, time_limit
from tests.benchmarks.shrink_rows import OURS, SHARES, Outcome, SeedResult, table_rows

L2, TAYLOR = "l2", "taylor"


def result(seed: int, scores: dict[str, float | None], **measured: float) -> SeedResult:
    outcomes = [
        Outcome(method, share, failure="too large")
        if score is None
        else Outcome(
            method, share, flops_share=share, score_bare=score - 0.5, loss_bare=1 - score, score=score,
            loss=0.5 - score, **(measured if share == 0.25 else {}),
        )
        for share in SHARES
        for method, score in scores.items()
    ]  # fmt: skip
    return SeedResult("net", seed, {}, 0.9, 0.1, 1e6, tuple(outcomes))


def test_ours_is_held_against_the_criterion_that_is_better_on_average():
    results = [result(0, {OURS: 0.80, L2: 0.70, TAYLOR: 0.81}), result(1, {OURS: 0.82, L2: 0.83, TAYLOR: 0.83})]
    before, *rows = table_rows(results, by_loss=False, is_timed=False)
    assert before.measured == "0.9000" and "2 seeds" in before.what
    assert [row.what for row in rows] == [f"net at {words} of the FLOPs" for words in SHARES.values()]
    assert all("autogrow minus taylor after fine-tuning -0.0100" in row.measured for row in rows)


@pytest.mark.parametrize(("behind", "reached"), [((0.03, 0.05), False), ((0.05, -0.03), True), ((-0.1, -0.1), True)])
def test_level_is_behind_by_no_more_than_two_standard_errors(behind, reached):
    results = [result(seed, {OURS: 0.5, L2: 0.5 + by, TAYLOR: 0.1}) for seed, by in enumerate(behind)]
    assert [row.reached for row in table_rows(results, False, False)] == [None, reached, reached, reached]


def test_a_smaller_loss_is_better():
    results = [result(seed, {OURS: 0.5, L2: 0.4 + seed / 100, TAYLOR: 0.1}) for seed in range(2)]
    rows = table_rows(results, by_loss=True, is_timed=False)
    assert all("autogrow minus l2 after fine-tuning -0.0950" in row.measured for row in rows[1:])
    assert all(row.reached for row in rows[1:])


def test_one_seed_reaches_nothing():
    rows = table_rows([result(0, {OURS: 0.9, L2: 0.1, TAYLOR: 0.1})], False, False)
    assert all(row.reached is None for row in rows)


def test_a_size_that_ours_does_not_come_to_is_missed_and_one_that_the_peer_does_not_is_told():
    ours = table_rows([result(0, {OURS: None, L2: 0.5, TAYLOR: 0.5})], False, False)[1]
    assert ours.reached is False and "autogrow: none (too large)" in ours.measured
    theirs = table_rows([result(0, {OURS: 0.5, L2: None, TAYLOR: None})], False, False)[1]
    assert theirs.reached is None and "taylor: none (too large)" in theirs.measured
    assert table_rows([result(0, {OURS: None, L2: None, TAYLOR: None})], False, False)[1].reached is None


def test_costs_are_held_against_their_goals():
    results = [
        result(seed, {OURS: 0.5, L2: 0.5, TAYLOR: 0.5}, seconds_ratio=seconds, memory_ratio=0.7)
        for seed, seconds in enumerate((0.3, 0.35, 0.9))
    ]
    seconds, memory = table_rows(results, False, is_timed=True)[-2:]
    assert (seconds.reached, memory.reached) == (True, False)
    assert "autogrow 0.350 (0.300 to 0.900)" in seconds.measured


def test_results_come_back_as_they_were_written():
    before = result(0, {OURS: 0.5, L2: None})
    assert SeedResult.from_dict(before.to_dict()) == before


class MixesExamples(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs - inputs.mean(0)


def test_what_is_wrong_with_a_result_is_found():
    example = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert fault_of(nn.Linear(3, 2), nn.Linear(3, 2), example) is None
    assert "shape (4, 1) instead of (4, 2)" in str(fault_of(nn.Linear(3, 1), nn.Linear(3, 2), example))
    assert "change each other" in str(fault_of(MixesExamples(), nn.Linear(3, 3), example))


def test_tied_weights_that_came_apart_are_found():
    def gpt(tied: bool) -> nn.Module:
        return build_model(ModelSpec("gpt", {"layers": 1, "width": 8, "heads": 2, "tied": tied}), (4,), 5, 0)

    tokens = torch.zeros(1, 4, dtype=torch.long)
    assert tied_parameters(gpt(True)) == [["tokens.weight", "head.weight"]]
    assert "came apart" in str(fault_of(gpt(False), gpt(True), tokens))
    assert fault_of(gpt(True), gpt(True), tokens) is None


def test_layers_that_make_heads_are_told_with_their_number():
    module = build_model(ModelSpec("gpt", {"layers": 2, "width": 8, "heads": 2}), (4,), 5, 0)
    found = attention_layers(module)
    assert [list(each.heads.values()) for each in found] == [[2], [2]]
    assert {name for name, layer in module.named_modules() for each in found if layer in each.heads} == {
        "blocks.0.attention.qkv", "blocks.1.attention.qkv",
    }  # fmt: skip


@pytest.mark.slow
def test_what_takes_too_long_is_ended():
    with pytest.raises(PeerFailedError, match="did not return within 1 seconds"), time_limit(1):
        time.sleep(600)
