"""The page on which a person corrects masks: click, paint, accept.

Reads the images, tags and pseudo-masks of a run and its classifier; writes accepted masks to
`trusted/<id>.png`, what was done to each image to `review/`. Needs the extra `review`.
"""
