"""Names in text: of drugs, diseases and tests."""
