"""What a run trains on and is scored on: pictures with tags, pictures with masks."""
