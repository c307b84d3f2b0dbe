"""New units from gradients: the initializations that look at the data."""
