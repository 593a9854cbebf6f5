"""Damages inputs, kills processes and fills disks: `scripts/fuzz` and `scripts/kill`."""
