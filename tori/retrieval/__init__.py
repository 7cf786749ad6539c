"""Retrieval: embedder port, passages, lexical and dense index, fusion, concept graph. Used by modules; imports lazily."""
