"""Writes the golden files anew, after a change on purpose: python -m tests.goldens.write."""

from __future__ import annotations

import json
from pathlib import Path

from chimed_rag.records import json_schemas

if __name__ == "__main__":
    text = json.dumps(json_schemas(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (Path(__file__).parent / "records.schema.json").write_text(text, "utf-8")
