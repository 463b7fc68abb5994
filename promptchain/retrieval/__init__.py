"""Passages of a project's files, found by their words, by their meaning, or by both."""
