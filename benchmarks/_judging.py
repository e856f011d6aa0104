"""What is found in an index after a kill, and whether it is what it must be.

The index must open whole, hold the documents from before or after the call and nothing in between, and after `compact`
give the same hits with the same scores as a fresh build of the same documents. `Kills` counts, `Judge` compares. Not
covered: how the writer died (`_killing.py`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from _durability import CHUNKING, ENCODER
from _killing import State, by_id, case

from chimed_rag.errors import IndexMissingError
from chimed_rag.indexing import writer
from chimed_rag.indexing.index import Index
from chimed_rag.indexing.manifest import Storage, damaged_files
from chimed_rag.text import terms

QUERIES = (
    "高血压患者每日两次口服氨氯地平",
    "儿童发热",
    "孕妇慎用布洛芬",
    "肾功能不全患者监测血糖",
    "胸痛立即就医",
    "患者",
)

# --- what an index holds and finds ----------------------------------------------------------------------------------

Signature = list[list[tuple[str, float]]]


def contents(index: Index) -> State:
    """What an open index holds, by document id."""
    return by_id(list(index.store.documents()))


def signature(index: Index, k: int = 25) -> Signature:
    """Hits and scores of both searches, for a few questions, unfiltered and filtered."""
    vectors = ENCODER.encode_queries(QUERIES)
    weights = [dict.fromkeys(terms(query), 1.0) for query in QUERIES]
    found = []
    for condition in (None, {"parity": "even"}):
        for hits in (index.search_dense(vectors, k, condition), index.search_lexical(weights, k, condition)):
            found += [[(hit.chunk_id, hit.score) for hit in one] for one in hits]
    return found


def same_signature(left: Signature, right: Signature, tolerance: float = 1e-5) -> bool:
    """Whether both hold the same chunks in the same order with scores that differ by no more than rounding."""
    return len(left) == len(right) and all(
        [c for c, _ in a] == [c for c, _ in b]
        and all(abs(s - t) <= tolerance for (_, s), (_, t) in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


def fresh_signature(state: State, storage: Storage) -> Signature:
    """The signature of an index that was built from these documents in one go."""
    with tempfile.TemporaryDirectory() as folder:
        writer.build(Path(folder, "fresh"), list(state.values()), ENCODER, chunking=CHUNKING, storage=storage)
        index = Index.open(Path(folder, "fresh"))
        try:
            return signature(index)
        finally:
            index.close()


# --- the judge ------------------------------------------------------------------------------------------------------


@dataclass
class Kills:
    """What was found after the kills of one operation; `failures` says what went wrong, with its seed."""

    operation: str
    experiment: str
    kills: int = 0
    mid_operation: int = 0
    found_before: int = 0
    found_after: int = 0
    whole: int = 0
    lost: int = 0
    extra: int = 0
    compared: int = 0
    equal_after_compact: int = 0
    failures: list[str] = field(default_factory=list)


class Judge:
    """Compares an index after a kill with what it must hold; remembers the signatures of fresh builds."""

    def __init__(self, operation: str, seed: int) -> None:
        self.case, self._signatures = case(operation, seed), dict[str, Signature]()

    def _fresh(self, name: str, state: State) -> Signature:
        if name not in self._signatures:
            self._signatures[name] = fresh_signature(state, self.case.storage)
        return self._signatures[name]

    def judge(self, folder: Path, acknowledged: bool, result: Kills, label: str, *, again: bool) -> None:
        """Adds what is found in the folder to the result; with `again` the call is made once more before `compact`."""
        found = self._open(folder, result, label)
        if found is None and self.case.before is not None:
            return
        before, after = self.case.before, self.case.after
        expected = after if acknowledged or (found == after and after != before) else before
        if found == expected:
            result.found_after += expected is after
            result.found_before += expected is not after
        else:
            nearest = expected if acknowledged else min(before or {}, after, key=lambda s: _distance(s, found or {}))
            wanted = nearest or {}
            result.lost += sum(1 for k, d in wanted.items() if (found or {}).get(k) != d)
            result.extra += sum(1 for k, d in (found or {}).items() if wanted.get(k) != d)
            result.failures.append(f"{label}: holds neither all nor nothing of the call")
            return
        result.compared += 1
        if found is None or (again and before is not None):  # a build that is complete refuses to be made again
            self.case.call(folder)
            expected = after
        writer.compact(folder)
        index = Index.open(folder)
        try:
            wanted_documents = expected or {}
            equal = contents(index) == wanted_documents and same_signature(
                signature(index), self._fresh("after" if expected is after else "before", wanted_documents)
            )
        finally:
            index.close()
        result.equal_after_compact += equal
        if not equal:
            result.failures.append(f"{label}: search after compact differs from that of a fresh build")

    def _open(self, folder: Path, result: Kills, label: str) -> State | None:
        try:
            index = Index.open(folder)
        except IndexMissingError:
            if self.case.before is None:
                result.whole += 1  # nothing was committed, and that is what is told
            else:
                result.failures.append(f"{label}: the index is gone")
            return None
        except Exception as error:  # whatever it is, it is a finding
            result.failures.append(f"{label}: cannot be opened: {error!r}")
            return None
        try:
            found = contents(index)
            problems = damaged_files(folder, index.manifest, hashes=True)
            problems += _inconsistencies(index, found)
        finally:
            index.close()
        result.whole += not problems
        result.failures.extend(f"{label}: {problem}" for problem in problems)
        return found


def _distance(left: State, right: State) -> int:
    return sum(1 for k in left.keys() | right.keys() if left.get(k) != right.get(k))


def _inconsistencies(index: Index, found: State) -> list[str]:
    """Whether store, dense and lexical part tell of the same chunks."""
    counts = index.manifest.counts
    every = dict.fromkeys([term for d in found.values() for term in terms(d.text + d.title)], 1.0)
    dense = index.search_dense(ENCODER.encode_queries(QUERIES[:1]), 10_000)[0]
    lexical = index.search_lexical([every], 10_000)[0]
    problems = []
    if {hit.chunk_id for hit in dense} != {hit.chunk_id for hit in lexical} or len(dense) != counts.chunks:
        problems.append(f"dense has {len(dense)}, lexical {len(lexical)}, the manifest {counts.chunks} chunks")
    if {hit.document_id for hit in dense} != found.keys() or len(found) != counts.documents:
        problems.append(f"the store has {len(found)}, the manifest {counts.documents} documents")
    return problems
