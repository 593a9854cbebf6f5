"""Numbers and pictures of a run as JSON and HTML."""
