"""What is read off a network without disturbing it: statistics, sensitivities, sizes, FLOPs."""
