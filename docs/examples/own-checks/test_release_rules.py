"""Our own rules for a migration, beside what mlflow-parity promises."""

from __future__ import annotations


def test_the_best_run_is_the_same(experiment, pairs):
    """Whoever sorts by accuracy finds the same run first on both servers."""
    scored = [pair for pair in pairs if "accuracy" in pair.source.metrics]
    if not scored:
        return
    best = max(scored, key=lambda pair: pair.source.metrics["accuracy"])
    copies = [run for run in experiment.target.runs if "accuracy" in run.metrics]
    assert max(copies, key=lambda run: run.metrics["accuracy"]).run_id == best.target.run_id


def test_the_last_accuracy_is_the_last(pairs):
    """The last point of each curve is what the run's page shows."""
    for pair in pairs:
        if "accuracy" in pair.target.metrics:
            assert pair.target.points("accuracy")[-1].value == pair.target.metrics["accuracy"]


def test_every_model_card_came_along(pairs):
    """A run with a model card has the same card, byte for byte."""
    for pair in pairs:
        if "card.md" in pair.source.artifacts:
            assert pair.target.artifacts["card.md"].sha256 == pair.source.artifacts["card.md"].sha256


def test_no_run_is_without_a_team(experiment):
    """On the new server each run says whose it is: a rule of ours that the source need not have kept."""
    assert [run.name for run in experiment.target.runs if "team" not in run.tags] == []


def test_experiments_have_the_same_names(source, target):
    """A check of both servers as wholes asks for no experiment; it runs once."""
    assert sorted(source.experiments) == sorted(target.experiments)


def test_nothing_is_unverified(audit):
    """The audit itself can be asked too: its counts, and its ledger row by row."""
    assert audit.totals.get("unverified", 0) == 0
    assert not [row for row in audit.rows() if row.kind == "run" and row.state == "missing"]
