"""What an optimizer knows of every entry: its age, its rate, whether it is held, its moments."""
