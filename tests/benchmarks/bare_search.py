"""What a user would write without autogrow: Ray Tune with Optuna over widths of a static MLP on digits, 20 trials."""

import os

os.environ.update(RAY_AIR_NEW_OUTPUT="0", TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1")

import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from sklearn.datasets import load_digits
from torch import nn


def train(config):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images / 16, dtype=torch.float32)
    targets = torch.tensor(labels)
    width = config["width"]
    model = nn.Sequential(
        nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
        nn.Linear(width, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    for _ in range(15):
        for batch in torch.randperm(1150).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = (model.eval()(inputs[1150:1438]).argmax(1) == targets[1150:1438]).float().mean().item()
    tune.report({"accuracy": accuracy})


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        train,
        param_space={"width": tune.lograndint(32, 512), "learning_rate": tune.loguniform(5e-4, 5e-3)},
        tune_config=tune.TuneConfig(
            metric="accuracy", mode="max", num_samples=20, search_alg=OptunaSearch(), reuse_actors=True
        ),
        run_config=tune.RunConfig(verbose=0),
    ).fit()
