"""A security token service on loopback that lends one role to one identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from mlflow_parity.standin.http import Handler, serving_http
from mlflow_parity.standin.sigv4 import Credentials, Refused, Verifier

_ANSWER = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>AROA:parity</AssumedRoleId><Arn>{role}</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>{lent.access_key}</AccessKeyId><SecretAccessKey>{lent.secret_key}</SecretAccessKey>
<SessionToken>{lent.token}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""
_REFUSAL = "<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"


@dataclass(frozen=True, slots=True)
class Role:
    """A role: who may assume it, from which region, and what credentials it then has."""

    arn: str
    trusted: Credentials
    region: str
    lent: Credentials
    assumed: list[str] = field(default_factory=list)
    """The names of the sessions that were given out."""


@contextmanager
def lending(role: Role) -> Iterator[str]:
    """Run the service for the length of a ``with`` block; gives its endpoint."""
    verifier = Verifier(role.trusted, role.region, "sts")
    with serving_http(type("BoundTokens", (_Tokens,), {"role": role, "verifier": verifier})) as endpoint:
        yield endpoint


class _Tokens(Handler):
    role: Role
    verifier: Verifier

    def do_POST(self) -> None:
        """Answer ``AssumeRole``."""
        with self.received() as (request, body):
            asked = parse_qs(body.read().decode())
            try:
                self.verifier.verify(request)
                if asked.get("Action") != ["AssumeRole"] or asked.get("RoleArn") != [self.role.arn]:
                    raise Refused("AccessDenied", "not authorized to perform: sts:AssumeRole")
            except Refused as refusal:
                self._answer(403, _REFUSAL.format(code=refusal.code, message=refusal))
                return
            self.role.assumed.extend(asked["RoleSessionName"])
            self._answer(200, _ANSWER.format(role=self.role.arn, lent=self.role.lent))

    def _answer(self, status: int, text: str) -> None:
        payload = text.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()
