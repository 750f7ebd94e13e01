"""Scratch."""
from __future__ import annotations
from collections import Counter
from pathlib import Path
from support.audits import audit
from mlflow_parity.standin.servers import Server

def test_it(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """x"""
    whole = audit(tmp_path / "whole", servers[0].uri, servers[1].uri)
    print(whole.output[-1500:])
    w = Counter((r.experiment, r.kind, r.source_id, r.target_id, r.facet, r.state, r.paired_by, r.findings, r.rules, r.note) for r in whole.rows())
    for t in (1, 2, 3):
        u = Counter()
        for n in range(1, t + 1):
            part = audit(tmp_path / f"p{n}{t}", servers[0].uri, servers[1].uri, "--parity-subset", f"{n}/{t}")
            print(part.output[-1300:])
            u += Counter((r.experiment, r.kind, r.source_id, r.target_id, r.facet, r.state, r.paired_by, r.findings, r.rules, r.note) for r in part.rows())
            print({k: v["objects"] for k, v in part.report["subset"]["objects"].items()})
            print([{k: s[k] for k in ("runs", "points", "artifacts", "requests")} for s in part.report["sides"].values()])
        assert u == w
