"""What a kind of MLflow object is: data from which all that knows it is derived.

A kind states its name, where it belongs, the releases that have it, and its *facets*, the comparable sides of an
object. Each facet names a *strategy*: it brings the comparer, the contract's base rule and the self-test's faults.
What may differ all the same, or is not compared, stands with its facet as further rules, each with its reason.

A *family* is what a test item stands for: an experiment with what is in it, a registered model with its versions,
a prompt with its versions, the server with what hangs on nothing else, or the scope of the audit as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from mlflow_parity.core.scope import EXPORT_IMPORT, PROFILES, SAME_STORE, Profile
from mlflow_parity.core.text import noun
from mlflow_parity.kinds.schema.listing import Listing
from mlflow_parity.kinds.schema.writing import Unwritable, Write

Family = Literal["experiment", "model", "prompt", "server", "scope"]
Treatment = Literal["equal", "paired", "expected", "not compared"]
#: ``own``: the kind has a comparer of its own for it, in the room ``comparing``.
Strategy = Literal[
    "presence", "value", "definition", "items", "link", "tags", "times", "status", "aliases", "number", "files",
    "stamps", "other", "own",
]  # fmt: skip
#: The facet of what a server tells of an object and nothing here knows. Kinds of 2026 keep it in their definition.
OTHER = "other"
TOOL = "databricks-mlflow-export-import 1.2.1"
ANY = "every MLflow server from 2.16"
#: What a rule for source tags says of a source that was migrated itself.
HOPS = (
    "Those of a source that was migrated itself are kept as mlflow_exim.hop1.*, and so on: against the server that it "
    "came from, they are compared."
)
EVERY = "every server"
_MOVED = (
    "A restored store may stand elsewhere. One prefix for the whole server, read from the experiments' locations; what "
    "stands below the old prefix must stand at the same place below the new one."
)
_MOVED_WHEN = "more experiments below the old prefix moved to the new one than stayed"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is treated.

    ``equal``: must be the same. ``paired``: compared through the pairing (an id on the source must be the id of
    its copy on the target). ``expected``: may differ under the condition ``when``, which is verified, with the
    evidence that ``reason`` names. ``not compared``: outside this audit; the report says so.

    ``profiles`` are the kinds of move for which it holds. Left empty, ``equal`` and ``not compared`` hold for all,
    ``paired``, ``expected`` and what only the tool does for ``export-import`` alone: what an import may change is no
    excuse for a store that only went on.
    """

    id: str
    kind: str
    facet: str
    field: str
    treatment: Treatment
    reason: str
    when: str = ""
    holds_for: str = ANY
    profiles: tuple[Profile, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the profiles that the treatment implies."""
        if not self.profiles:
            every = self.treatment in ("equal", "not compared") and self.holds_for != TOOL
            object.__setattr__(self, "profiles", PROFILES if every else EXPORT_IMPORT)


@dataclass(frozen=True, slots=True)
class Facet:
    """One comparable side of an object; ``rules`` begin with that of the facet itself, where it has one.

    ``of``: the kind that a link leads to, or whose ids stand in ``items``. ``live``: only a server itself can tell it;
    of a snapshot it is not judged. ``optional``: judged only where an option asks for it. ``what``: an item, in words.
    """

    name: str
    strategy: Strategy
    rules: tuple[Rule, ...]
    of: str = ""
    what: str = ""
    live: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. ``content`` are the facets that tell an object from its like; ids, links and times are not."""

    name: str
    plural: str
    family: Family
    part: str
    """Where the snapshot keeps it: a part of an experiment, or of the server."""
    sides: tuple[Facet, ...]
    content: tuple[str, ...]
    first: tuple[int, int]
    """The first MLflow release whose tracking server serves it (2.13 is the oldest that SageMaker offers)."""
    surely: tuple[int, int] | None = None
    """A release that serves it for certain, where the first is not known: in between, the server tells."""
    listing: Listing | None = None
    """How it is listed; none where the reading room has its own way."""
    write: Write | None = None
    """How it is written; none where the migration has its own way, or nothing can."""
    unwritable: tuple[Unwritable, ...] = ()
    named: bool = True
    """Whether its objects are known by their names, which may collide on the target."""

    def __post_init__(self) -> None:
        """Write the kind into the rules of its facets."""
        object.__setattr__(self, "sides", tuple(belonging(one, self.name, self.singular) for one in self.sides))

    @property
    def facets(self) -> tuple[str, ...]:
        """Names of its facets, in the order in which reports show them."""
        return tuple(one.name for one in self.sides)

    @property
    def files(self) -> str | None:
        """The facet that stands for its files, if it has any."""
        return next((one.name for one in self.sides if one.strategy == "files"), None)

    def side(self, facet: str) -> Facet:
        """Return one of its facets."""
        return next(one for one in self.sides if one.name == facet)

    @property
    def whole(self) -> bool:
        """Whether all of an object but its links is one facet, its definition."""
        return any(one.strategy == "definition" for one in self.sides)

    @property
    def links(self) -> tuple[str, ...]:
        """The kinds whose objects it names in facets of their own."""
        return tuple(dict.fromkeys(one.of for one in self.sides if one.strategy == "link"))

    @property
    def title(self) -> str:
        """The plural as a heading has it."""
        return self.plural[0].upper() + self.plural[1:]

    @property
    def singular(self) -> str:
        """The name of one."""
        return noun(1, self.plural)

    @property
    def since(self) -> str:
        """The release that brought it, in words."""
        return f"{self.first[0]}.{self.first[1]}{'' if self.surely is None else ' or later'}"


def belonging(facet: Facet, kind: str, singular: str) -> Facet:
    """Return a facet whose rules name the kind."""
    rules = (
        replace(one, id=f"{kind}.{one.id}", kind=kind, facet=facet.name, field=one.field or f"the {singular} itself")
        for one in facet.rules
    )
    return replace(facet, rules=tuple(rules))


# --- rules; each stands with its facet, which its id need not name


class _Ruling(Protocol):
    def __call__(
        self, name: str, field: str, reason: str, when: str = "", *, holds_for: str = ANY,
        profiles: tuple[Profile, ...] = (),
    ) -> Rule: ...  # fmt: skip


def _ruling(treatment: Treatment) -> _Ruling:
    def rule(
        name: str, field: str, reason: str, when: str = "", *, holds_for: str = ANY, profiles: tuple[Profile, ...] = ()
    ) -> Rule:
        return Rule(name, "", "", field, treatment, reason, when, holds_for, profiles)

    return rule


#: A field that must be the same.
equal = _ruling("equal")
#: A field that is compared through the pairing.
paired = _ruling("paired")
#: A field that may differ under the condition ``when``.
expected = _ruling("expected")
#: A field outside of the audit.
not_compared = _ruling("not compared")


def hops() -> Rule:
    """The source tags of a source that was migrated itself, which the tool writes its own over."""
    return expected(
        "source_tags.hops",
        "tags mlflow_exim.* of a source that was migrated itself",
        "The Export Import tool writes its own over them: where the source itself came from is lost. "
        "mlflow-parity migrate keeps them as mlflow_exim.hop1.*, and so on.",
        "the copy has a source tag of the same name, and those of the source's earlier hops as they are",
        holds_for=TOOL,
    )


def infinity(profiles: tuple[Profile, ...] = ()) -> Rule:
    """Infinite values of a metric, which only file stores keep."""
    return expected(
        "metrics.infinity",
        "value ±inf",
        "SQL stores keep ±inf as ±1.7976931348623157e308, the largest double; file stores keep ±inf.",
        "±inf at the source stands as the largest double of the same sign at the same step and time",
        profiles=profiles,
    )


def negative_zero(profiles: tuple[Profile, ...] = ()) -> Rule:
    """The other nought of a metric, which only file stores keep."""
    return expected(
        "metrics.negative-zero",
        "value -0.0",
        "SQL stores keep -0.0 as 0.0, which is numerically equal.",
        "-0.0 at the source stands as 0.0 at the same step and time",
        profiles=profiles,
    )


def moved(name: str, field: str) -> Rule:
    """A place in a store that went on, and stands elsewhere now."""
    return expected(name, field, _MOVED, _MOVED_WHEN, profiles=SAME_STORE)


# --- facets


def presence(reason: str, *more: Rule, field: str = "") -> Facet:
    """The object itself: exactly one copy, and no other."""
    return Facet("presence", "presence", (equal("presence", field, reason), *more))


def value(name: str, field: str, reason: str, *more: Rule) -> Facet:
    """A JSON value that must be equal."""
    return Facet(name, "value", (equal(name, field, reason), *more))


def definition(field: str, *more: Rule) -> Facet:
    """All that the list tells of an object but its links, as one JSON value; ``field`` says what that is."""
    reason = "All that the list tells but the server's own ids, and times and users, which stand by themselves."
    return Facet("definition", "definition", (equal("definition", field, reason), *more))


def items(name: str, field: str, reason: str, *more: Rule, of: str = "", what: str = "") -> Facet:
    """A list that is compared as a multiset; ids of the kind ``of`` in it through the pairing."""
    return Facet(name, "items", (equal(name, field, reason), *more), of, what)


def link(name: str, of: str, field: str, reason: str, *more: Rule) -> Facet:
    """The id of an object of the kind ``of``, which must be that of its copy."""
    return Facet(name, "link", (paired(name, field, reason), *more), of)


def tags(field: str, reason: str, *more: Rule) -> Facet:
    """Tags, by key."""
    return Facet("tags", "tags", (equal("tags", field, reason), *more))


def times(
    field: str = "creation and update time", reason: str = "The server sets them; no API can.", *more: Rule
) -> Facet:
    """Creation and update times, which the server sets."""
    return Facet("times", "times", (expected("times", field, reason), *more))


def stamps(*parts: str) -> Facet:
    """Times and users that the server sets, of an object and of its ``parts``; see ``listing.stamped``."""
    field = "times and users of its creation and last change"
    field += f", and of those of its {' and '.join(parts)}" if parts else ""
    reason = (
        "The server sets them, to when it was written there and by whom; at most the maker can be told, and only once."
    )
    return Facet("times", "stamps", (expected("times", field, reason),))


def status(field: str, reason: str, *more: Rule) -> Facet:
    """A status, some of which no request of MLflow's writes."""
    return Facet("status", "status", (equal("status", field, reason), *more))


def aliases(field: str, reason: str, *more: Rule) -> Facet:
    """Aliases, through the pairing of versions."""
    return Facet("aliases", "aliases", (paired("aliases", field, reason), *more))


def number(field: str, reason: str, *more: Rule) -> Facet:
    """The number of a version."""
    return Facet("number", "number", (equal("number", field, reason), *more))


def files(name: str, field: str, reason: str, *more: Rule) -> Facet:
    """A tree of files: paths, sizes, bytes."""
    return Facet(name, "files", (equal(name, field, reason), *more))


def own(name: str, *rules: Rule, live: bool = False, optional: bool = False) -> Facet:
    """A facet with a comparer of its own."""
    return Facet(name, "own", rules, live=live, optional=optional)


def usable(field: str, reason: str, *more: Rule) -> Facet:
    """What both servers answer when they are asked what people's clients ask; only where an option wants it."""
    release = expected(
        "usable.release",
        "a search that one side's release does not know",
        "An older server refuses it; the data is there.",
        "the source answers that it has no such API, or cannot read the search (400, 404, 405, 501), or the target "
        "does and the releases differ or one is not told",
        profiles=PROFILES,
    )
    how = "Only with --parity-usable: both servers are asked, and the answers compared through the pairing."
    reason = f"{how} {reason} What has no copy is told under presence. Of a snapshot it is unverified."
    return own("usable", equal("usable", field, reason), *more, release, optional=True)


def other(*more: Rule, entry: str = "", note: str = "") -> Facet:
    """What a server tells of an object and nothing here knows; ``entry``: of what in it all told is compared."""
    reason = (
        "A field that a newer MLflow adds is compared verbatim, in both directions, but for what is empty. Where only "
        "one side's release tells it at all, it is unverified, under its name."
    )
    reason += f" What is told beside of {entry} is compared with it." if entry else ""
    reason += f" {note}" if note else ""
    field = "all else that is told of it: what this version of mlflow-parity does not know"
    return Facet(OTHER, "other", (equal(OTHER, field, reason), *more))
