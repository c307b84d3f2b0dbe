"""Samples made by hand, for tests of what a policy makes of them."""

from autogrow.policy.records import Sample


def sample(index: int, **metrics: float) -> Sample:
    values = {
        "train_loss": 1.0,
        "validation_loss": 1.0,
        "train_score": 0.5,
        "validation_score": 0.5,
        "train_seconds": 0.0,
        "training_flops": 0.0,
        "learning_rate": 1e-3,
        "progress": min(1.0, (index + 1) / 100),
        **metrics,
    }
    return Sample(index=index, step=index + 1, epoch=0.0, parameters=1, **values)


def samples(losses: list[float]) -> list[Sample]:
    return [sample(index, train_loss=loss) for index, loss in enumerate(losses)]
