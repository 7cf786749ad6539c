"""Shared by the tests: fakes, small corpora, drivers."""
