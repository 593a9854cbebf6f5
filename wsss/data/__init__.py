"""What a run trains on and is scored on: images with tags, images with masks."""
