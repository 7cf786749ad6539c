"""What the machine has, how much of it is in use, and when that is too much."""
