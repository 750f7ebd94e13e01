"""A source and its copy by the tool, made once and laid into other servers for each module that wants a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.standin.servers import Server
from support.seed import seed_small
from support.servers import ServerPool, keep_content, lay_content
from support.sharing import made_once
from support.tool import export, import_


@dataclass(frozen=True, slots=True)
class Migration:
    """What a source, the tool's folder and the target held after a migration that lost nothing."""

    folder: Path

    @classmethod
    def make(cls, pool: ServerPool) -> Migration:
        """Seed a server of the pool, migrate it to another one, and keep what is then in both."""
        with made_once("migration") as (folder, is_there):
            made = cls(folder)
            if not is_there:
                source, target = pool.take(), pool.take()
                seed_small(source.uri)
                export(source.uri, made.exported)
                import_(target.uri, made.exported)
                for name, server in (("source", source), ("target", target)):
                    keep_content(server, folder / name)
                    pool.give_back("newest", server)
        return made

    @property
    def exported(self) -> Path:
        """What the tool exported of the source; only to be read."""
        return self.folder / "export"

    def database(self, name: str) -> Path:
        """Return the kept database of ``"source"`` or ``"target"``."""
        return self.folder / name / "database.db"

    def lay(self, name: str, server: Server) -> None:
        """Give a fresh server the content of ``"source"`` or ``"target"``: ids, times and files are those made once."""
        lay_content(self.folder / name, server)
