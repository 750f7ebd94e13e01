"""Files that a server does not send itself: it signs an address in its store (``--artifacts-presigned-only``).

What is fetched there carries none of the caller's credentials: the address holds all that the store wants.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from mlflow_parity.core.errors import MalformedAnswer, TransportError
from mlflow_parity.core.locations import Location
from mlflow_parity.reading.transport.responses import Again, reason
from mlflow_parity.reading.transport.timed import TimedAdapter, until


@dataclass(frozen=True, slots=True)
class SignedPlace:
    """An address that a store takes as a permit for one file, and the headers that belong to it."""

    url: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, answer: Mapping[str, Any], location: Location) -> SignedPlace:
        """Take it from a server's answer.

        Raises:
            MalformedAnswer: there is none, or it leads where no store is.
        """
        url, headers = answer.get("url"), answer.get("headers") or {}
        if not isinstance(url, str) or not isinstance(headers, dict):
            raise MalformedAnswer("the server signed no address for the file")
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise MalformedAnswer("the server signed an address that is none") from None
        wanted = ("https",) if location.endpoint.startswith("https:") else ("http", "https")
        if parts.scheme not in wanted or not parts.hostname:
            raise MalformedAnswer(f"the server signed an address that is no {' or '.join(wanted)} one")
        with suppress(ValueError):
            # where machines in a cloud ask for their own credentials
            if ipaddress.ip_address(parts.hostname).is_link_local:
                raise MalformedAnswer(f"the server signed an address of the machine's own network: {parts.hostname}")
        return cls(url, {str(name): str(value) for name, value in headers.items()})

    def open(
        self,
        method: str,
        content: Any = None,
        *,
        verify: bool,
        timeout: tuple[float, float],
        late: float,
    ) -> requests.Response:
        """Send one request there; the answer's body is not read yet. ``late``: the moment by which it must begin.

        Raises:
            Again: nothing usable came, another try may help.
            TransportError: the store's certificate is not trusted.
        """
        headers = {**self.headers, "Accept-Encoding": "identity"}
        # one for each file: no cookie, no .netrc and no header of the server's session goes to a store
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, TimedAdapter(max_retries=0))
        # the bundle that was given for the server says nothing about its store; to trust all was the user's word
        settings = session.merge_environment_settings(self.url, {}, True, None if verify else False, None)
        try:
            prepared = requests.Request(method, self.url, headers=headers, data=content).prepare()
            with until(late):
                return session.send(prepared, timeout=timeout, allow_redirects=False, **settings)
        except ValueError:
            # what requests and http.client say of an address or a header that cannot be sent
            raise MalformedAnswer("the server signed an address that cannot be asked") from None
        except (requests.RequestException, OSError, urllib3.exceptions.HTTPError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise TransportError(f"the store that the server names: {reason(error)}") from None
            raise Again(reason(error)) from None
