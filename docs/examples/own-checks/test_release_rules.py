"""Our own rules for a migration, beside what mlflow-parity promises."""

from __future__ import annotations


def test_the_best_run_is_the_same(parity_experiment, parity_pairs):
    """Whoever sorts by accuracy finds the same run first on both servers."""
    scored = [pair for pair in parity_pairs if "accuracy" in pair.source.metrics]
    if not scored:
        return
    best = max(scored, key=lambda pair: pair.source.metrics["accuracy"])
    copies = [run for run in parity_experiment.target.runs if "accuracy" in run.metrics]
    assert max(copies, key=lambda run: run.metrics["accuracy"]).run_id == best.target.run_id


def test_the_last_accuracy_is_the_last(parity_pairs):
    """The last point of each curve is what the run's page shows."""
    for pair in parity_pairs:
        if "accuracy" in pair.target.metrics:
            assert pair.target.points("accuracy")[-1].value == pair.target.metrics["accuracy"]


def test_every_model_card_came_along(parity_pairs):
    """A run with a model card has the same card, byte for byte."""
    for pair in parity_pairs:
        if "card.md" in pair.source.artifacts:
            assert pair.target.artifacts["card.md"].sha256 == pair.source.artifacts["card.md"].sha256


def test_the_owner_is_kept(parity_pairs, parity_record):
    """Whose a run is stands in the report as a row of its own, ``own:owner``."""
    for pair in parity_pairs:
        ours, theirs = (run.tags.get("team") for run in (pair.source, pair.target))
        parity_record(pair, "owner", ours == theirs, key="team", source=ours, target=theirs)


def test_no_run_is_without_a_team(parity_experiment):
    """On the new server each run says whose it is: a rule of ours that the source need not have kept."""
    assert [run.name for run in parity_experiment.target.runs if "team" not in run.tags] == []


def test_experiments_have_the_same_names(parity_source, parity_target):
    """A check of both servers as wholes asks for no experiment; it runs once."""
    assert sorted(parity_source.experiments) == sorted(parity_target.experiments)


def test_nothing_is_unverified(parity_audit):
    """The audit itself can be asked too: its counts, and its ledger row by row."""
    assert parity_audit.totals.get("unverified", 0) == 0
    assert not [row for row in parity_audit.rows() if row.kind == "run" and row.state == "missing"]
