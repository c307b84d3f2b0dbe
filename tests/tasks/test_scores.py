import pytest
import torch

from tests.tasks.metrics import metrics_of


def test_regression_score_is_r_squared():
    targets = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    assert metrics_of("regression", targets, targets).score == 1.0
    mean = metrics_of("regression", torch.full((4, 1), 2.5), targets)
    assert mean.score == pytest.approx(0.0) and mean.loss == pytest.approx(1.25)


def test_classification_metrics():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    metrics = metrics_of("classification", outputs, torch.tensor([0, 1, 1, 1]))
    assert metrics.score == 0.75
    assert metrics.loss == pytest.approx((3 * 0.126928 + 2.126928) / 4, rel=1e-4)
