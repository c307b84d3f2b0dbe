"""Initializations that fit new units to data. Measured, and found no better: kept to be compared with, not recommended.

What was measured is in ``results/studies/initialization`` (5 seeds, validation split, p below 0.05), against a random
fan-in with a fan-out of zero (`zero_fan_out`), which costs nothing and is the default:

- `gradient_max` (GradMax) was better on digits (0.89 times the loss) and friedman (0.96 times), level on sine, and far
  worse on MNIST (4.8 times the loss, 12.5 points), in a network without norms, where the loss rose nearly fortyfold
  after an event.
- `tiny` (TINY) was better on sine (0.45 times the loss), level on digits and MNIST, and worse on friedman (1.15 times).
  On MNIST the training took 2.6 times as long.

Neither was better on more than two of the four data sets, or on MNIST at all. Policies and search spaces
may name both as before; only `autogrow.network.fitting` imports from here, when one is asked for. What they share with
the layer selection `gradient_gain` stands in `autogrow.network.new_units`.
"""
