"""Trained segmenters as files that need no run folder."""
