"""Data set formats: each reads a layout on disk into images with tags."""
