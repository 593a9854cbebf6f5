"""Numbers and images of a run as JSON and HTML."""
