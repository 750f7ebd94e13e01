"""Issues, review queues, the AI gateway and the MCP registry: named one by one, because nothing here writes them."""

from __future__ import annotations

from mlflow_parity.contract import LATER
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.import_others import _each, _entities
from mlflow_parity.migrating.importing import Import
from mlflow_parity.migrating.run_writing import NotMoved
from mlflow_parity.model import Entity
from mlflow_parity.snapshot import SERVER


def name_later(context: Import) -> None:
    """Put every such object into the journal as one that was not moved."""

    def refuse(entity: Entity) -> None:
        title = KINDS[entity.kind].plural
        raise NotMoved(f"migrate.py does not write {title}: make it on the target by hand", for_good=True)

    objects = context.export.snapshot.objects(SERVER)
    for kind in LATER:
        _each(context, _entities(objects, kind), refuse)
