"""What `scripts/gpu_check` and `scripts/gpu_distil` are made of."""
