"""The redactor: what is known is hidden in every form, what looks like a secret is hidden unknown."""

from __future__ import annotations

import base64
import html
import json
import logging
from pathlib import Path
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape as xml

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.secrecy import forms

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.redaction import MASK, Redactor, basic, guard_logs, learn

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
        "to=" + quote(f"https://b.s3.amazonaws.com/k?X-Amz-Signature={quote(WORD)}&x=1", safe=""),
        "to=" + quote(quote(f"https://b.s3.amazonaws.com/k?X-Amz-Security-Token={WORD}&x=1", safe=""), safe=""),
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
    """Plain, in URLs, in URLs within them, in JSON of every sort, in XML and HTML, and as Python shows it."""
    redact = Redactor([secret])
    in_json = json.dumps(secret, ensure_ascii=False)[1:-1]
    for form in (
        *(secret, quote(secret, safe=""), quote(secret), quote_plus(secret), quote(quote(secret, safe=""), safe="")),
        *(json.dumps(secret)[1:-1], in_json, in_json.replace("/", "\\/"), json.dumps(json.dumps(secret))[3:-3]),
        *(repr(secret)[1:-1], repr(secret.encode())[2:-1], html.escape(secret), xml(secret)),
    ):
        assert form not in redact(form).replace(MASK, "")
        assert MASK in redact(f"at {form} there")


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=12, max_size=30), st.binary(max_size=4))
def test_base64_of_a_known_secret_is_hidden(secret: str, before: bytes) -> None:
    """Whatever it was put together with: of its own bytes no six in a row are left."""
    redact = Redactor([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        clean = redact(encode(before + secret.encode() + b":").decode())
        assert MASK in clean
        assert len(clean.replace(MASK, "")) <= len(encode(before)) + 8


def test_what_is_learned_later_is_hidden_by_all() -> None:
    """Credentials of a role turn up while redactors exist already; what is short is not taken for a secret."""
    redact, late = Redactor(), "LateRoleToken/0123456789=="
    assert redact(late) == late
    learn(late, None, "", "short")
    for one in (redact, Redactor(), Redactor(["another"])):
        assert one(f"the token {late} is not valid") == f"the token {MASK} is not valid"
        assert one(f"in a URL: {quote(late, safe='')}") == f"in a URL: {MASK}"
        assert one("short") == "short"


def test_a_token_that_was_mounted_as_a_file_is_known() -> None:
    """It ends with a line end, which no header carries."""
    redact = Redactor.from_environment({"SOURCE_MLFLOW_TRACKING_TOKEN": "a-mounted-token\n"})
    assert redact("the token a-mounted-token is not valid") == f"the token {MASK} is not valid"


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
