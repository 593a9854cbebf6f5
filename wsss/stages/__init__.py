"""The stages of the pipeline; each reads files, writes files and returns the path it wrote."""
