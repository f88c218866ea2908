"""Pairs of secrets that differ in a character. None can belong to anybody."""

from hypothesis import strategies as st


def _other(secret: str, at: int, change: int, letters: str) -> tuple[str, str]:
    """Return the secret and another one, of which neither begins with the other."""
    at = 1 + at % (len(secret) - 2)  # neither the first character nor the last
    letter = letters[change // 4 % len(letters)]
    kind = change % 4
    if kind == 1 and secret[at : at + 1].isalpha():
        return secret, secret[:at] + secret[at].swapcase() + secret[at + 1 :]
    if kind == 2 and secret[at] != secret[at - 1]:
        shorter = secret[:at] + secret[at + 1 :]
        if not secret.startswith(shorter):
            return secret, shorter
    if kind == 3:
        longer = secret[:at] + letter + secret[at:]
        if not longer.startswith(secret):
            return secret, longer
    if letter == secret[at]:
        letter = letters[(change // 4 + 1) % len(letters)]
    return secret, secret[:at] + letter + secret[at + 1 :]


def _pairs(secrets: st.SearchStrategy[str], letters: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.builds(
        lambda secret, at, change: _other(secret, at, change, letters),
        secrets,
        st.integers(0, 63),
        st.integers(0, 255),
    )


_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_BODIES = st.text(_LETTERS, min_size=8, max_size=12)
_FORMS = (
    "{}",
    "sk-not-a-key-{}",
    "/home/jo.{}/notes.txt",
    "jo {}  x",
    "jo:{}@db.invalid:5432",
    "// {}",
    "# {}",
)
TEXTS = _pairs(st.builds(str.format, st.sampled_from(_FORMS), _BODIES), _LETTERS + " .-")
NAMES = _pairs(st.builds("not_a_key_{}".format, _BODIES), _LETTERS + "_")
NUMBERS = _pairs(st.builds("1{:07}".format, st.integers(0, 9_999_999)), "0123456789")
