"""Choosing the option of an examination question by evidence alone, without a language model."""
