"""The redactor: what is known is hidden in every form, what looks like a secret is hidden unknown."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.secrecy import forms

from mlflow_parity.locations import parse_location
from mlflow_parity.redaction import MASK, Redactor, basic, guard_logs

WORD = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY=="
ODD = 'p"ä ss/%&<\\x>'


@pytest.mark.parametrize(
    "text",
    [
        f"{{'X-Amz-Security-Token': b'{WORD}', 'Accept': 'x'}}",
        json.dumps({"x-amz-security-token": WORD}),
        json.dumps(json.dumps({"SessionToken": WORD, "SecretAccessKey": WORD})),
        json.dumps([["x-amz-security-token", WORD], ["authorization", f"Bearer {WORD}"]]),
        f"<SecretAccessKey>{WORD}</SecretAccessKey><SessionToken>{WORD}</SessionToken>",
        f"&lt;SessionToken&gt;{WORD}&lt;/SessionToken&gt; {{&quot;secretAccessKey&quot;: &quot;{WORD}&quot;}}",
        f"host:here\nx-amz-security-token:{WORD}\nx-amz-date:1",
        f"{{'Authorization': b'AWS4-HMAC-SHA256 Credential=A/1, Signature={WORD}'}}",
        f"Authorization: Basic {WORD}",
        f'{{"accessToken": "{WORD}", "refreshToken":"{WORD}", "clientSecret" : "{WORD}"}}',
        f"aws_secret_access_key = {WORD}",
        f"https://b.s3.amazonaws.com/k?X-Amz-Signature={WORD}&X-Amz-Security-Token={quote(WORD)}&x=1",
        f"https://{WORD.replace('/', '')}@host/path",
    ],
)
def test_what_is_shaped_like_a_secret_is_hidden(text: str) -> None:
    """Headers, JSON, JSON within JSON, Python, XML, URLs, though nobody told what the secret is; once is enough."""
    clean = Redactor()(text)
    assert WORD not in clean
    assert quote(WORD) not in clean
    assert MASK in clean
    assert Redactor()(clean) == clean


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30))
def test_a_known_secret_is_hidden_in_every_form(secret: str) -> None:
    """Plain, in URLs, in JSON and as Python shows it."""
    redact = Redactor([secret])
    for form in (
        *(secret, quote(secret, safe=""), quote(secret), quote_plus(secret)),
        *(json.dumps(secret)[1:-1], repr(secret)[1:-1], repr(secret.encode())[2:-1]),
    ):
        assert form not in redact(form).replace(MASK, "")
        assert MASK in redact(f"at {form} there")


def test_a_location_knows_its_secrets() -> None:
    """The password as it stands in the URI and as it is meant, its header, and a token in the name's place."""
    location = parse_location(f"https://ada:{quote(ODD, safe='')}@host:5000/", option="--source-uri")
    redact = Redactor(location.secrets)
    for form in (ODD, quote(ODD, safe=""), basic("ada", ODD), json.dumps(ODD)):
        assert ODD not in redact(form)
        assert MASK in redact(form)
    token = parse_location("https://a-long-token@host", option="--source-uri")
    assert "a-long-token" in token.secrets
    assert parse_location("https://host", option="--source-uri").secrets == ()
    assert not any(secret in repr(location) + repr(token) for secret in (*location.secrets, *token.secrets))


def test_headers_of_the_environments_passwords_are_known() -> None:
    """Whichever name and password go together, the side's own or those for both."""
    env = {
        "MLFLOW_TRACKING_USERNAME": "ada",
        "SOURCE_MLFLOW_TRACKING_PASSWORD": "own-word",
        "TARGET_MLFLOW_TRACKING_USERNAME": "bob",
    }
    redact = Redactor.from_environment({**env, "MLFLOW_TRACKING_PASSWORD": "word-for-both"})
    for name in ("ada", "bob"):
        for word in ("own-word", "word-for-both"):
            assert redact(basic(name, word)) == MASK


def test_logs_hold_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Message, arguments and traceback of whoever logs; afterwards all is as before."""
    before = logging.getLogRecordFactory()
    end = guard_logs(Redactor([ODD]))
    logger = logging.getLogger("a library")
    try:
        logger.warning("signed %s with %r", "this", ODD)
        logger.warning("%d", "defect of the caller", extra={"more": 1})
        try:
            raise ValueError(f"it was {ODD}")
        except ValueError:
            logger.exception("failed: %s", {"x-amz-security-token": WORD})
    finally:
        end()
    assert logging.getLogRecordFactory() is before
    assert "signed this with" in caplog.text
    assert "Traceback" in caplog.text
    for secret in (ODD, WORD):
        assert not any(form.decode("utf-8", "replace") in caplog.text for form in forms(secret))
