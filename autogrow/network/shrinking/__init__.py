"""What a network can do without: scores of units, and what remains made up for what is removed."""
