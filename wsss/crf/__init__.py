"""Dense conditional random fields: presets, backends, one call."""
