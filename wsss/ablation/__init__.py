"""What `wsss ablate` compares, how a row is scored, and the table that comes of it."""
