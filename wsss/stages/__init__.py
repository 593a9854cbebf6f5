"""The stages of the line; each reads files, writes files and returns the path it wrote."""
