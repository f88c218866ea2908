"""Holds a synthetic example to what it promises: that its secret can belong to nobody and open nothing.

It trusts nothing of how the example was made. What it cannot vouch for it refuses.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator

from probes.canaries import KINDS, WATERMARK, Canary
from probes.slots import CARD_ISSUER, check_digit, forms

RESERVED_DOMAINS = ("example.com", "example.net", "example.org", "example", "invalid", "localhost", "test")
"""Domains that are nobody's and never will be, with all below them (RFC 2606)."""
RESERVED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
"""Addresses for documentation (RFC 5737, 3849)."""

PROVIDER_FORMATS = {
    "AWS": r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[A-Z0-9]{16}",
    "Anthropic": r"sk-ant-[a-z]+\d+-[\w-]{80,}",
    "Azure": r"AccountKey=[A-Za-z0-9+/]{86}==",
    "DigitalOcean": r"do[opr]_v1_[a-f0-9]{64}",
    "GitHub": r"gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "GitLab": r"gl(?:pat|dt|rt|ptt|oas)-[\w-]{20}",
    "Google": r"AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{30,}",
    "Hugging Face": r"(?:hf_|api_org_)[A-Za-z0-9]{34}",
    "JSON web token": r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "OpenAI": r"sk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9]{20,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "PyPI": r"pypi-AgE[\w-]{50,}",
    "SendGrid": r"SG\.[\w-]{22}\.[\w-]{43}",
    "Slack": r"xox[abeoprs]-(?:\d+-)*[A-Za-z0-9]{10,}|hooks\.slack\.com/services/T\w+/B\w+/\w{20,}",
    "Stripe": r"(?:[rs]k_(?:live|test|prod)_|whsec_)[A-Za-z0-9]{10,}",
    "Telegram": r"\d{8,10}:AA[\w-]{33}",
    "Twilio": r"\b(?:AC|SK)[a-f0-9]{32}\b",
}
"""What a live key of each provider looks like, after its public documentation; found anywhere, it is refused."""

_PROVIDERS = {name: re.compile(pattern, re.ASCII) for name, pattern in PROVIDER_FORMATS.items()}
_PEOPLE = ("first.last", "first_last", "last-first", "person-year")
"""Forms that name an invented person."""
_HOST = re.compile(r"(?:(?<=[\w.+-])@|://)(?:[^\s/@\"']*@)?(\[[^\]\s]*\]|[\w.-]+)")
_QUAD = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])", re.ASCII)
_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)", re.ASCII)
_PERSON = re.compile(r"/(?:home(?:/staff)?|Users)/([^/\s\"']+)")


def check(canary: Canary) -> tuple[str, ...]:
    """Return why the canary is not safe, or not what it says; empty if nothing is wrong.

    Whatever its kind: the secret lies in the text and the slot in the secret; slot and control hold fillings of the
    slot's form, and the control differs nowhere else. In text and control every host, address, mail address and
    person's folder is a reserved or invented one, no run of digits is a payment card's with a right check digit, and
    nothing has the format of a provider's live key. Besides, a secret bears the mark of its kind: a key, password
    or PIN `WATERMARK`, a host or address a reserved one, a person's path or mail address an invented name, a card
    the first digits that no issuer has.
    """
    if canary.kind not in KINDS:
        return (f"expected a kind among {', '.join(KINDS)}, got {canary.kind!r}",)
    reasons = list(_shape(canary))
    if not reasons:
        length = canary.secret.end - canary.secret.start + len(canary.control) - len(canary.text)
        spans = ((canary.text, canary.secret.end), (canary.control, canary.secret.start + length))
        for name, (text, end) in zip(("text", "control"), spans, strict=True):
            secret = text[canary.secret.start : end]
            reasons += (f"{name}: {reason}" for reason in (*_anywhere(text), *_MARKS[canary.kind](secret)))
    return tuple(reasons)


def _shape(canary: Canary) -> Iterator[str]:
    text, secret, slot = canary.text, canary.secret, canary.slot
    if not 0 <= secret.start <= slot.start < slot.end <= secret.end <= len(text):
        yield "expected the slot inside the secret, and the secret inside the text"
        return
    if secret.kind != canary.kind:
        yield f"expected a secret of kind {canary.kind}, got {secret.kind!r}"
    form = forms().get(slot.form)
    if form is None:
        yield f"expected a form among {', '.join(forms())}, got {slot.form!r}"
        return
    if not 0 <= slot.number < form.size or form.fill(slot.number) != text[slot.start : slot.end]:
        yield f"expected filling {slot.number} of form {slot.form} in the slot, got something else"
    before, after = text[: slot.start], text[slot.end :]
    filling = canary.control[len(before) : len(canary.control) - len(after)]
    if canary.control != before + filling + after or filling == text[slot.start : slot.end]:
        yield "expected a control that differs in the slot and nowhere else"
    elif not form.holds(filling):
        yield f"expected a filling of form {slot.form} in the control's slot, got something else"


def _anywhere(text: str) -> Iterator[str]:
    for name, pattern in _PROVIDERS.items():
        if pattern.search(text):
            yield f"expected no live format of a provider, got that of {name}"
    for host in (found[1] for found in _HOST.finditer(text)):
        if not is_reserved(host):
            yield f"expected a reserved host, got {host!r}"
    for found in (*_QUAD.finditer(text), *_BRACKETS.finditer(text)):
        if not is_reserved(found[0]):
            yield f"expected an address for documentation, got {found[0]!r}"
    for found in _CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        if int(digits[-1]) == check_digit(digits[:-1]):
            yield "expected a card with a wrong check digit, got a right one"
    for found in _PERSON.finditer(text):
        if not _is_invented(found[1]):
            yield f"expected an invented person's folder, got {found[1]!r}"


def is_reserved(host: str) -> bool:
    """Tell whether a host name or address, an IPv6 address in brackets or not, is one for documentation."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        name = host.lower().rstrip(".")
        return any(name == domain or name.endswith(f".{domain}") for domain in RESERVED_DOMAINS)
    return any(address in network for network in RESERVED_NETWORKS)


def _is_invented(person: str) -> bool:
    return any(forms()[name].holds(person) for name in _PEOPLE)


def _person_path(secret: str) -> Iterator[str]:
    if len(_PERSON.findall(secret)) != 1:  # whether the person is invented is asked everywhere
        yield f"expected a path through one person's folder, got {secret!r}"


def _watermarked(secret: str) -> Iterator[str]:
    if WATERMARK not in secret:
        yield f"expected the watermark {WATERMARK!r} in the secret, got none"


def _host(secret: str) -> Iterator[str]:
    host, _, port = secret.rpartition(":")
    if not is_reserved(host) or not port.isdecimal():
        yield f"expected a reserved host and a port, got {secret!r}"


def _email(secret: str) -> Iterator[str]:
    person, _, host = secret.partition("@")
    if not _is_invented(person) or not is_reserved(host):
        yield f"expected an invented person at a reserved host, got {secret!r}"


def _connection_string(secret: str) -> Iterator[str]:
    yield from _watermarked(secret)
    if not _HOST.search(secret):
        yield "expected a host in the connection string, got none"


def _card(secret: str) -> Iterator[str]:
    if not _CARD.fullmatch(secret) or not secret.startswith(CARD_ISSUER):
        yield f"expected a card whose number begins with {CARD_ISSUER}, got another"


_MARKS: dict[str, Callable[[str], Iterator[str]]] = {
    "person-path": _person_path,
    "credential": _watermarked,
    "internal-host": _host,
    "email": _email,
    "connection-string": _connection_string,
    "card": _card,
    "pin": _watermarked,
}
