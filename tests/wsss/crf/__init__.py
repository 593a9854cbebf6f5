"""Tests of wsss.crf."""
