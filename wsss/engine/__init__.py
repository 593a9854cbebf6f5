"""What every training and inference loop shares: device, checkpoints, loop, log."""
