"""Shared by all tests: no network, the place of the real literature, a small literature of our own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from chimed_rag import Document, MedQA

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever tries to leave this machine fails; loopback stays, for servers that a test starts itself."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests use no network, but {host!r} was asked for")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real literature beside the checkout; tests that need it skip, saying so, where it is absent."""
    folder = Path(os.environ.get("CHIMED_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"the real literature is not here ({folder}); set CHIMED_SHARED to run this test")
    return folder


TEXTS = {
    "ibuprofen": (
        "布洛芬",
        "【适应症】布洛芬用于缓解轻至中度疼痛，也用于退热。\n【用法用量】成人一次0.2g，每4至6小时一次，24小时内不超过4次。\n"
        "【禁忌】孕晚期妇女禁用布洛芬。对阿司匹林过敏的哮喘患者禁用布洛芬。",
        {"department": "药学", "year": 2023},
    ),
    "acetaminophen": (
        "对乙酰氨基酚",
        "【适应症】对乙酰氨基酚用于退热和缓解疼痛。\n【孕妇用药】孕妇发热时可在医生指导下短期使用对乙酰氨基酚。\n"
        "【过量】过量服用对乙酰氨基酚可引起严重肝损害。",
        {"department": "药学", "year": 2021},
    ),
    "hypertension": (
        "高血压",
        "高血压是以动脉血压持续升高为主要表现的慢性病。\n诊室血压达到140/90mmHg及以上可诊断为高血压。\n"
        "治疗包括限盐、减重、规律运动和长期服用降压药。",
        {"department": "心内科", "year": 2020},
    ),
    "potassium": (
        "血钾",
        "血钾的参考范围为3.5~5.5mmol/L。\n血钾低于3.5mmol/L称为低钾血症，可出现乏力和心律失常。",
        {"department": "检验科", "year": 2019},
    ),
}


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """Four small documents with metadata, written for the tests."""
    return [
        Document(id=key, title=title, text=text, metadata=metadata, source=f"{key}.md", licence="Apache-2.0")
        for key, (title, text, metadata) in TEXTS.items()
    ]


@pytest.fixture(scope="session")
def ward(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> Path:
    """An index of the small documents; read it only."""
    path = tmp_path_factory.mktemp("ward") / "index"
    MedQA.build(documents, path).close()
    return path


@pytest.fixture
def qa(ward: Path) -> MedQA:
    """A MedQA over the small documents; read it only."""
    return MedQA.load(ward)
