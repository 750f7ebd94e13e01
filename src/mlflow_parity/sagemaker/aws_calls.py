"""Calls of boto3's ``sagemaker`` client: which identity and region, what is tried again, errors as one line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mlflow_parity.core.errors import RequestRefused, TransportError, UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.transport.auth import Aws, SideName, variable
from mlflow_parity.reading.transport.timed import time_boto

if TYPE_CHECKING:
    import boto3

_TRIES = 5
#: An assumed role's credentials are asked for again after this time; the plugin's cache knows how long they last.
_ROLE_SECONDS = 240.0
#: What fixes a refusal, by a part of its code.
_FIXES = (
    ("AccessDenied", "give this identity the right to sagemaker:OPERATION"),
    ("NotAuthorized", "give this identity the right to sagemaker:OPERATION"),
    ("Expired", "the AWS credentials ran out: renew them"),
    ("UnrecognizedClient", "check the AWS credentials (of this side: with SOURCE_ or TARGET_ in front)"),
    ("InvalidClientToken", "check the AWS credentials (of this side: with SOURCE_ or TARGET_ in front)"),
    ("Signature", "check the AWS credentials, the region, and the clock"),
    ("MissingAuthentication", "check the AWS credentials"),
    ("Throttl", "try again later"),
    ("ResourceLimitExceeded", "the account's quota is used up: delete what is not needed, or ask for more"),
    ("Conflict", "wait until it is settled, and try again"),
    ("UnknownOperation", "this region may not have it: pass a different --region"),
    ("Validation", "correct what it names"),
    ("Internal", "try again later"),
)


class Calls:
    """The operations of one region, as one identity may call them.

    Every error is one line without secrets: ``RequestRefused`` when SageMaker refuses (``code``: its name for the
    reason), ``TransportError`` when it does not answer, ``UsageProblem`` when there is nothing to call it with.
    """

    def __init__(self, connect: Callable[[], Any], region: str, redact: Callable[[str], str], lasts: float) -> None:
        self._connect = connect
        self._client: Any = None
        self._made = 0.0
        self._lasts = lasts
        self.region = region
        self._redact = redact

    def _current(self) -> Any:
        """Return the client; made again every ``lasts`` seconds, because an assumed role's credentials run out."""
        if self._client is None or time.monotonic() - self._made > self._lasts:
            self._client, self._made = self._connect(), time.monotonic()
        return self._client

    def found(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Call an operation that describes a resource; ``None`` when there is none."""
        try:
            return self.call(operation, **arguments)
        except RequestRefused as error:
            unknown = "not exist" in str(error) or "not find" in str(error) or "not found" in str(error)
            if error.code.startswith("ResourceNotFound") or (error.code == "ValidationException" and unknown):
                return None
            raise

    def pages(self, operation: str, key: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of an operation that lists, page by page."""
        token: dict[str, Any] = {}
        while True:
            answer = self.call(operation, **token)
            yield from answer.get(key, ())
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def call(self, operation: str, *, again: bool = True, **arguments: Any) -> dict[str, Any]:
        """Call one operation; ``again``: it may be called twice, so it is tried again where that may help."""
        from botocore import exceptions as boto

        for number in range(_TRIES if again else 1):
            last = number == _TRIES - 1 or not again
            try:
                answer: dict[str, Any] = getattr(self._current(), operation)(**arguments)
                return answer
            except boto.ClientError as error:
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
                code = str(error.response.get("Error", {}).get("Code", ""))
                if last or not (status >= 500 or "Throttl" in code or code == "TooManyRequestsException"):
                    self._refused(
                        error.operation_name, status, code, str(error.response.get("Error", {}).get("Message", ""))
                    )
            except (boto.HTTPClientError, boto.ConnectionError) as error:
                if last:
                    raise TransportError(
                        f"SageMaker's control plane in {self.region} does not answer ({self._line(error)}); "
                        "check the network and the region"
                    ) from None
            except boto.ParamValidationError as error:
                raise UsageProblem(f"SageMaker would refuse this: {self._line(error)}") from None
            except boto.BotoCoreError as error:
                raise UsageProblem(f"AWS cannot be asked: {self._line(error)}") from None
            time.sleep(0.2 * 2**number)
        raise AssertionError("unreachable")

    def _refused(self, operation: str, status: int, code: str, message: str) -> NoReturn:
        fix = next((text for part, text in _FIXES if part in code), "see the message")
        fix = fix.replace("OPERATION", operation)
        if operation == "CreateMlflowApp" and "AccessDenied" in code:
            fix += ", and iam:PassRole on the role"
        text = f"SageMaker refused {operation}: {message.strip() or 'no reason given'} ({code}); {fix}"
        raise RequestRefused(self._line(text), status=status, code=code)

    def _line(self, error: object) -> str:
        return " ".join(self._redact(str(error)).split())


def open_calls(
    side: SideName,
    environ: Mapping[str, str] | None = None,
    *,
    region: str | None = None,
    location: Location | None = None,
) -> Calls:
    """Open the control plane with a side's credentials; nothing is sent yet.

    The region is that of ``location``'s ARN; else the option (``region``); else the environment's; else the profile's.

    Raises:
        UsageProblem: no credentials or no region, or the option contradicts the ARN.
    """
    from botocore.config import Config

    env = os.environ if environ is None else environ
    if location is not None and region and region != location.region:
        raise UsageProblem(f"--region: {region} is not the region of {location.uri}; leave the option out")
    wanted = region or (location.region if location is not None else None)
    aws = Aws(side, env, wanted or variable(side, "AWS_REGION", env))
    if not aws.found:
        raise UsageProblem(
            "no AWS credentials found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with "
            f"{side.upper()}_ in front when the two sides differ)"
        )
    session = aws.session
    if not session.region_name:
        raise UsageProblem("no AWS region is known; give --region, or set AWS_DEFAULT_REGION")
    role = variable(side, "SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN", env)
    endpoint = variable(side, "AWS_ENDPOINT_URL_SAGEMAKER", env)
    redact = Redactor.from_environment(env)

    def connect() -> Any:
        identity: Any = _assumed(session, role, redact) if role else {}
        client = session.client(
            "sagemaker",
            endpoint_url=endpoint,
            # one try: creating is not to be repeated blindly, and the rest is tried again here
            config=Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1, "mode": "standard"}),
            **identity,
        )
        time_boto(client)
        return client

    return Calls(connect, session.region_name, redact, _ROLE_SECONDS if role else float("inf"))


def _assumed(session: boto3.Session, role: str, redact: Callable[[str], str]) -> dict[str, str | None]:
    """Return a role's credentials: the same, from the same cache, that the data plane is called with."""
    from botocore.exceptions import BotoCoreError, ClientError
    from sagemaker_mlflow.auth import AuthBoto

    try:
        found = AuthBoto(str(session.region_name), "sagemaker", role, session).creds.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        why = " ".join(redact(str(error)).split())
        raise UsageProblem(
            f"SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN: the role {role} cannot be assumed: {why}; let it trust this identity"
        ) from None
    return {
        "aws_access_key_id": found.access_key,
        "aws_secret_access_key": found.secret_key,
        "aws_session_token": found.token,
    }
