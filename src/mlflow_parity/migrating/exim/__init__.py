"""The Export Import tool (``mlflow-export-import``): what it does in a migration, and what is replaced of it.

It drives both halves. Its ``export_experiment`` writes the files of runs and logged models (:mod:`.snapshot_client`),
its ``import_run``, ``import_logged_model`` and source tags say what is to be written of them (:mod:`.drafts`). The
commands ``export-all`` and ``import-all`` run as the public guide says, in the demo alone (:mod:`.tool`).

Two things are replaced, by handing its functions another client than MLflow's:

* what it *reads*: at its export it is answered from the snapshot, so that the source is read once, by the audit's own
  reader, with whole histories and from every server that is supported;
* what it *sends*: at its import nothing is sent; what it wants to write is taken down, and ``migrating.write`` writes
  it in an order that survives a kill, because the tool writes a run's source tags last and repeats many calls.

Everything else is written from the snapshot without it. It asks whether a model version's source is a local path or in
S3, and loses all others; it sends prompts to the process-wide tracking URI, links evaluation datasets to the source's
experiments, and cannot take a trace's id and times along; scorers, webhooks, reviews, the gateway and MCP servers it
does not know. Nothing outside of this folder imports the tool or knows its client; what it loses is a table of tests,
``tests/migrating/test_losses.py``.
"""
