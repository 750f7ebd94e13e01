"""Every row of what the Export Import tool is known to lose, and the test that shows it.

A test is a file below ``tests`` without ``.py``, a function without ``test_``, and where it has many cases a text that
stands in the file for the row's own.
"""

from __future__ import annotations

from collections.abc import Mapping

_ROW = ("migrating/test_losses", "the_tool_loses_it_and_migrate_does_not")
_MORE = ("migrating/test_losses_more", "it_is_lost_or_altered_by_the_tool")
_S3 = ("migrating/test_losses_s3", "a_version_is_lost_or_another_by_the_tool")
_AGE = ("migrating/test_losses_more", "a_client_of_another_age", "")
_AGAIN = ("migrating/test_losses_s3", "again", "")
#: Row → file, function, case.
ROWS: Mapping[str, tuple[str, str, str]] = {
    # client and server
    "a client of MLflow 3 fails at every experiment of a 2.x server": _AGE,
    "a client from 2.21 is answered no models by 2.16": _AGE,
    "prompts of 2.21 and 2.22": ("migrating/test_matrix", "nothing_is_lost", '"prompt_version"'),
    # exit codes
    "the target dies midway": (
        "migrating/test_losses_more",
        "a_second_run_doubles_with_the_tool_only",
        "lose_connections",
    ),
    # changed by design, but not by ours
    "times, user, status": ("migrating/test_losses", "times_and_user_stand_on_the_target_itself", ""),
    # lost field by field
    "tags of Default": (*_ROW, '"tags of Default"'),
    "note of Default": (*_ROW, '"note of Default"'),
    "tags and note of an experiment that exists": (
        "migrating/test_losses_more",
        "what_an_experiment_loses_that",
        "THERE",
    ),
    "source tags on models, traces, prompts": ("migrating/test_losses", "where_no_source_tags_are_written", ""),
    "aliases of a prompt": (*_ROW, '"aliases of a prompt"'),
    "tags of a prompt": (*_ROW, '"tags of a prompt"'),
    "response format": (*_ROW, '"response format"'),
    "model configuration": (*_ROW, '"model configuration"'),
    "scorers": (*_ROW, '"a scorer"'),
    "webhooks": (*_ROW, '"a webhook"'),
    "deleted experiments": (*_ROW, '"a deleted experiment"'),
    "experiments of evaluation datasets": (*_ROW, '"experiment of a dataset"'),
    # what cuts an experiment short
    "a run with model inputs": (*_ROW, '"a run with model inputs"'),
    "a run with a trace": (*_ROW, '"a run with a trace"'),
    "a trace whose spans are in the database": (*_ROW, '"spans in the database"'),
    "a trace with an overridden assessment": (*_ROW, '"an overridden assessment"'),
    "a logged model without source run": (*_ROW, '"a logged model without a run"'),
    "a child whose parent is deleted": (*_ROW, '"a deleted parent"'),
    "a child whose parent is elsewhere": (*_MORE, '"child"'),
    "a child whose parent is elsewhere, and its model versions": (*_S3, '"of a child"'),
    "deleted runs, asked for": (*_MORE, '"witness of the deleted"'),
    "a deleted experiment at the target": (*_MORE, '"of the way"'),
    "an artifact that cannot be had": (*_MORE, '"with a file out of reach"'),
    "marks in names of files": (*_MORE, '"with a marked name"'),
    "names of files that are not ASCII": ("migrating/test_losses_more", "a_name_that_a_proxy_cannot_give_back", ""),
    "a ghost run": ("migrating/test_losses", "no_run_is_made_up", ""),
    "a name that is another's id": ("migrating/test_losses_more", "a_name_that_is_the_id_of_another", ""),
    # model versions
    "all versions on a proxied target": (*_ROW, '"a version of a run\'s files"'),
    "sources of 2.x on S3": _AGE,
    "'artifacts' in the URI": (*_S3, '"cut"'),
    "'models' in the URI": (*_S3, '"folder"'),
    "the wrong one of several logged models": (*_S3, '"several"'),
    "versions of a deleted run": (*_ROW, '"a version of a deleted run"'),
    "versions without a run": (*_ROW, '"a version without a run"'),
    "a source outside of the run": (*_S3, '"outside"'),
    "a tagged model of a managed server": (*_S3, '"tagged"'),
    "a model's name with an apostrophe": ("migrating/test_losses", "a_name_with_an_apostrophe", ""),
    # again, or after a crash
    "a second import doubles runs": ("migrating/test_losses_more", "a_second_run_doubles_with_the_tool_only", ""),
    "a second import doubles logged models and versions, and moves aliases": _AGAIN,
    "--delete-prompt": _AGAIN,
    "ten and more versions of a prompt": (*_ROW, '"ten and more versions of a prompt"'),
    "a kill leaves half a run, and there is no resume": ("pairing/test_keys", "killed_import", ""),
    "… ours goes on": ("migrating/test_resume", "killed_again_and_again", ""),
}
