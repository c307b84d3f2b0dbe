"""Training one network under one policy: the loop, its measurements, its records and its checkpoints."""
