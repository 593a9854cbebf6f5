"""The networks of a run: the classifier and the segmenter."""
