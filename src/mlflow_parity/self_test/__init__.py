"""``--parity-self-test``: plants one fault of each class in a copy of what was read; the audit in hand must see each.

Nothing is planted on a server. A few objects of both snapshots are laid into memory, the target's are altered, and the
audit's own code (pairing, contract, waivers) judges them with its scope, depth and profile.
"""

from __future__ import annotations
