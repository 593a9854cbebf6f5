"""Scores of masks and of tags over a whole split. Pure."""
