"""What stands between a caller and MLflow: what an answer that is not MLflow's own means, and what to do about it.

Load balancers, sign-in pages, body limits, wrong prefixes and MLflow's own check of the host: each has one sentence,
which an audit and a migration say alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    import requests

_VARIABLES = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
_FRONT = "with SOURCE_ or TARGET_ in front where the sides differ"
#: What MLflow from 3.5 on says to a request for a host that it was not told of.
_HOST = "invalid host header"
_PLAIN = "plain http request was sent to https port"
#: What a front end that signs users in wants.
_SIGN_IN = f"pass credentials that it takes ({_VARIABLES}; {_FRONT}), or an address behind it"
#: What MySQL and MariaDB say of a second row with one key, and MLflow of tags that it could not write for that.
_TAKEN = re.compile(r"1062, .{0,3}Duplicate entry '(.*?)' for key|Failed to set tags with given within \d+ retries")
#: Stands in every refusal of such a row.
TAKEN = "the target's database (MySQL or MariaDB) takes it for one that it has"
_NO_NAME = re.compile("Name or service not known|name resolution|nodename nor servname|No address associated")
_NO_WAY = re.compile("unreachable|No route to host|ConnectTimeout|onnection timed out")
_CUT = re.compile("reset by peer|without response|BadStatusLine")
_LIMITS = "nginx: client_max_body_size"


class Told(NamedTuple):
    """What is wrong, in words that follow a status, and what to do; either may be empty."""

    what: str = ""
    fix: str = ""


def page_for_json(endpoint: str) -> Told:
    """Return what a web page in the place of JSON means; ``endpoint`` is the address that was given."""
    return Told(
        "the answer is a web page, not JSON: a proxy's page to sign in, or no MLflow",
        f"{_SIGN_IN}; where MLflow is served below a path, {_prefix(endpoint)}",
    )


def redirected(answer: requests.Response, endpoint: str, path: str) -> Told:
    """Return where a redirect leads; ``path`` is what was asked for below ``endpoint``."""
    given = answer.headers.get("Location", "")
    try:
        there = urlsplit(urljoin(str(answer.request.url), given))
        host = there.netloc.rpartition("@")[2]
    except ValueError:
        given = host = ""
    if not given or not host:
        return Told("redirected", "give the address that it redirects to")
    # neither what identifies a user nor what a sign-in keeps in the query is printed
    shown = urlunsplit((there.scheme, host, there.path, "", ""))
    base = shown.removesuffix(path).rstrip("/") if shown.rstrip("/").endswith(path) else ""
    if base and base != endpoint:
        return Told(f"redirected to {base}", f"pass {base} (redirects are not followed: credentials go to one address)")
    return Told(f"redirected to {shown}, a page to sign in or another service", _SIGN_IN)


def refused(answer: requests.Response, text: str, message: str, endpoint: str, *, new: bool) -> Told:
    """Return what a refusal means that another than MLflow's endpoint gave, or the database behind it.

    ``message`` is MLflow's in it; ``new``: MLflow never answered so far.
    """
    status, said = answer.status_code, text.lower()
    if found := _TAKEN.search(message):
        return Told(
            TAKEN + (f" ({found[1]!r})" if found[1] else ""),
            "its collation may tell neither case nor accents nor blanks at the end apart: give new names (--rename), "
            "or create the database with COLLATE utf8mb4_bin",
        )
    page = text.lstrip().startswith("<")
    if status == 401:
        sent = "Authorization" in answer.request.headers
        what = "the credentials are not accepted" if sent else "it asks for credentials, and none were given"
        return Told(what, f"set {_VARIABLES} ({_FRONT})")
    if status == 403 and _HOST in said:
        host = urlsplit(endpoint).netloc
        return Told(
            "",
            f"start that server with --allowed-hosts {host} beside those that it has (MLFLOW_SERVER_ALLOWED_HOSTS), "
            "or pass an address with a host that it allows",
        )
    if status == 403 and page:
        return Told("a proxy or firewall before MLflow refuses it", _SIGN_IN)
    if status == 407:
        return Told(
            "a proxy on the way asks for credentials", "put them into HTTPS_PROXY, or name the host in NO_PROXY"
        )
    if status == 413:
        return too_large(answer.request.headers.get("Content-Length", ""))
    if status == 400 and _PLAIN in said:
        return Told("it is asked without TLS", f"pass https://{urlsplit(endpoint).netloc}")
    if status in (404, 405) and new and "error_code" not in said:
        return Told("no MLflow is served at this address", f"where it is served below a path, {_prefix(endpoint)}")
    if status in (502, 503, 504) and page:
        return Told("a proxy answers, and MLflow behind it does not", "")
    return Told()


def too_large(length: str) -> Told:
    """Return what is to be done where a body of so many bytes is too large for a proxy."""
    size = f" of {int(length):,} bytes" if length.isdecimal() else ""
    return Told(
        f"the body{size} is larger than a proxy before the server takes",
        f"raise its limit for the size of bodies ({_LIMITS}), or pass an address behind it; then run it again",
    )


def unreached(why: str, endpoint: str, *, new: bool) -> tuple[str, bool]:
    """Return what to do about a connection that could not be made (empty: the reason tells nothing), and if it lasts.

    ``new``: MLflow never answered so far; what has answered and does not now is tried again and needs no advice.
    """
    parts = urlsplit(endpoint)
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return f"set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its authority ({_FRONT})", True
    if "WRONG_VERSION_NUMBER" in why or "record layer failure" in why:
        return f"it speaks no TLS: pass http://{parts.netloc}", True
    if not new:
        return "", False
    if "Connection refused" in why:
        return f"nothing listens at {parts.netloc}: start the server, or correct host and port", False
    if _NO_NAME.search(why):
        return f"there is no host {parts.hostname} here: correct the name, or enter its network (VPN, DNS)", False
    if _NO_WAY.search(why):
        way = f"no way leads to {parts.netloc} from here"
        return f"{way}: enter its network (VPN), or open firewall and security group", False
    if parts.scheme == "http" and _CUT.search(why):
        return f"it may speak TLS: pass https://{parts.netloc}", False
    return "", False


def _prefix(endpoint: str) -> str:
    return f"add it to the address: {endpoint}/PREFIX (mlflow server --static-prefix, or a proxy's)"


def is_switched_off(status: int, text: str) -> bool:
    """Whether MLflow says that it was started without an endpoint (``--no-serve-artifacts``): that does not pass."""
    return status == 503 and "disabled" in text
