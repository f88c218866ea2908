import math
import random
import re
import string
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.canaries import generate
from probes.detect import KINDS, detect, entropy, rules, sensitive
from probes.secrets import Secret

RULES = {rule.name: rule for rule in rules()}

UPPER, LOWER, DIGITS, HEX = string.ascii_uppercase, string.ascii_lowercase, string.digits, "0123456789abcdef"
WORD = UPPER + LOWER + DIGITS
URL64 = WORD + "_-"
BASE64 = WORD + "+/"
PEOPLE = ("ilvane", "j.marel", "tovin-k", "zoë")
HOSTS = ("db7.corp.lan", "build-3.local", "ldap.corp", "git.site.intranet", "q1.hall.internal")


class Draw(random.Random):
    def text(self, alphabet: str, count: int) -> str:
        return "".join(self.choices(alphabet, k=count))

    def password(self) -> str:
        return "k" + self.text(WORD + "!*+.~-", self.randrange(8, 14)) + "7Z"

    def key(self) -> str:
        return self.text(UPPER, 6) + self.text(DIGITS, 5) + self.text(WORD, 20)

    def mail(self) -> str:
        name = self.choice(("ilvane.marel", "tovin+news", "q_zandrin7"))
        return f"{name}@{self.choice(('marel.de', 'mail.corp.example', 'x-y.co.uk', 'hall.io'))}"

    def v4(self) -> str:
        heads = (
            "10.3.2",
            "192.168.4",
            "172.16.0",
            "172.31.255",
            "169.254.9",
            "192.0.2",
            "198.51.100",
            "203.0.113",
        )
        return f"{self.choice(heads)}.{self.randrange(1, 255)}"

    def v6(self) -> str:
        return (
            f"{self.choice(('fd12:3456:789a', 'fe80', '2001:db8', 'fc00:1'))}::{self.randrange(1, 65536):x}"
        )

    def pem(self) -> str:
        kind = self.choice(("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "))
        head = self.choice(("MII", "b3BlbnNzaC1r"))
        lines = [head + self.text(WORD, 64 - len(head)), self.text(BASE64, 64), self.text(BASE64, 30) + "=="]
        label = kind + "PRIVATE" + " KEY-----"
        end = self.choice(("\n", "\\n", '\\n"\n    "', "\n# "))
        return end.join(("-----BEGIN " + label, *lines, "-----END " + label))


# One maker for each shape, by rule. Heads of keys are put together here, so that no scanner takes this file for a leak.
KEYS = {
    "private-key-of-age": [
        lambda d: "AGE-SECRET" + "-KEY-1" + d.text("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)
    ],
    "watermark": [
        lambda d: f"{d.choice(('AKIA-example', 'sk_test'))}-not-a" + f"-key-{d.text(LOWER + '234', 12)}",
        lambda d: "not-a" + "-key",
    ],
    "aws-key-id": [
        lambda d: d.choice(("AKIA", "ASIA", "ABIA", "ACCA", "A3TX")) + d.text(UPPER + "234567", 16)
    ],
    "github": [
        lambda d: "gh" + d.choice("opsur") + "_" + d.text(WORD, 36),
        lambda d: "github" + "_pat_" + d.text(WORD, 22) + "_" + d.text(WORD, 59),
    ],
    "gitlab": [
        lambda d: "gl" + d.choice(("pat", "dt", "rt", "ptt")) + "-" + d.text(URL64, 19) + d.choice(WORD),
        lambda d: "glpat" + "-" + d.text(URL64, 26) + "z.01." + d.text(LOWER + DIGITS, 9),
    ],
    "slack": [
        lambda d: (
            "xox" + d.choice("abeoprs") + f"-{d.text(DIGITS, 12)}-{d.text(DIGITS, 12)}-{d.text(WORD, 24)}"
        ),
        lambda d: "xapp" + f"-1-A{d.text(UPPER + DIGITS, 10)}-{d.text(DIGITS, 13)}-{d.text(HEX, 64)}",
        lambda d: (
            "https://hooks." + f"slack.com/services/T{d.text(UPPER + DIGITS, 9)}/B02K/{d.text(WORD, 24)}"
        ),
    ],
    "stripe": [
        lambda d: (
            d.choice("rs") + "k_" + d.choice(("live", "test")) + "_" + d.text(WORD, d.choice((16, 24, 99)))
        ),
        lambda d: "whsec" + "_" + d.text(WORD, 32),
    ],
    "google": [
        lambda d: "AI" + "za" + d.text(URL64, 34) + d.choice(WORD),
        lambda d: "GOCSPX" + "-" + d.text(URL64, 27) + d.choice(WORD),
        lambda d: "ya29" + "." + d.text(URL64, 60) + d.choice(WORD),
    ],
    "package-registry": [
        lambda d: "npm" + "_" + d.text(WORD, 36),
        lambda d: "pypi" + "-AgEIcHlwaS5vcmc" + d.text(URL64, 130) + d.choice(WORD),
        lambda d: "pypi" + "-AgENdGVzdC5weXBpLm9yZw" + d.text(URL64, 130) + d.choice(WORD),
        lambda d: "rubygems" + "_" + d.text(HEX, 48),
        lambda d: "dckr" + "_pat_" + d.text(URL64, 26) + d.choice(WORD),
    ],
    "model-service": [
        lambda d: "hf" + "_" + d.text(LOWER + UPPER, 34),
        lambda d: "api" + "_org_" + d.text(LOWER + UPPER, 34),
        lambda d: "s" + "k-" + d.text(WORD, d.choice((20, 48, 51))),
        lambda d: "s" + "k-proj-" + d.text(URL64, 120) + d.choice(WORD),
        lambda d: "s" + "k-ant-api03-" + d.text(URL64, 93) + "AA",
        lambda d: "s" + "k-or-v1-" + d.text(HEX, 64),
        lambda d: "r8" + "_" + d.text(WORD, 37),
        lambda d: "gsk" + "_" + d.text(WORD, 52),
    ],
    "mail-and-message": [
        lambda d: "S" + "G." + d.text(URL64, 22) + "." + d.text(URL64, 42) + d.choice(WORD),
        lambda d: d.choice(("S" + "K", "A" + "C")) + d.text(HEX, 32),
        lambda d: "key" + "-" + d.text(HEX, 32),
    ],
    "telegram": [
        lambda d: d.choice("123456789") + d.text(DIGITS, 9) + ":A" + "A" + d.text(URL64, 32) + d.choice(WORD)
    ],
    "hosting": [
        lambda d: "do" + d.choice("opr") + "_v1_" + d.text(HEX, 64),
        lambda d: "shp" + d.choice(("at", "ca", "pa", "ss")) + "_" + d.text(HEX, 32),
        lambda d: "dapi" + d.text(HEX, 32),
        lambda d: "hvs" + "." + d.text(URL64, 90) + d.choice(WORD),
        lambda d: "dp" + ".pt." + d.text(WORD, 43),
        lambda d: "glsa" + "_" + d.text(WORD, 32) + "_" + d.text(HEX, 8),
        lambda d: "lin" + "_api_" + d.text(WORD, 40),
        lambda d: "sq0" + "atp-" + d.text(URL64, 21) + d.choice(WORD),
        lambda d: "sq0" + "csp-" + d.text(URL64, 42) + d.choice(WORD),
        lambda d: "PMAK" + f"-{d.text(HEX, 24)}-{d.text(HEX, 34)}",
        lambda d: "NRAK" + "-" + d.text(UPPER + DIGITS, 27),
    ],
    "json-web-token": [
        lambda d: f"ey{'J'}{d.text(URL64, 33)}.ey{'J'}{d.text(URL64, 60)}.{d.text(URL64, 42)}{d.choice(WORD)}"
    ],
}
KEYS_IN_PLACE = [
    "key = '{}'\n",
    'f(key="{}")',
    "x = 1  # with {}\ny = 2",
    '{{"a": "{}"}}',
    "curl https://x.org/v1?key={}&n=1",
    "export KEY={}",
    "/* {} */",
    r'print("a:\n{}\n")',
    "`{}`",
    "<b>{}</b>",
    "KEY: {}",
    "{}",
]

# What is known by what stands around it: {} is the sensitive part.
IN_CONTEXT = {
    "pem-private-key": [
        ("{}", Draw.pem),
        ('key = """{}"""\nprint(key)\n', Draw.pem),
        ('"{}\\n",\n', Draw.pem),
    ],
    "aws-secret-key": [
        ("aws_secret_access_key = {}\n", lambda d: d.text(BASE64, 39) + "k"),
        ('SecretKey: "{}"', lambda d: d.text(BASE64, 39) + "k"),
    ],
    "azure-storage-key": [
        ('f("{}")', lambda d: d.text(BASE64, 86) + "=="),
        ("AccountKey={};x", lambda d: d.text(BASE64, 86) + "=="),
    ],
    "authorization-header": [
        ('"Authorization: Bearer {}"', Draw.key),
        ("headers['authorization'] = 'bearer {}'", Draw.key),
        ('{{"Authorization": "Basic {}"}}', lambda d: d.text(BASE64, 22) + "=="),
        ("Authorization: Token {}", lambda d: d.text(HEX, 39) + "7"),
    ],
    "assigned-key": [
        (template, Draw.key)
        for template in (
            'API_KEY = "{}"',
            "apiKey: '{}',",
            'os.environ["CLIENT_SECRET"] = "{}"',
            '{{"access_token": "{}"}}',
            'const token: string = "{}";',
            'secret := "{}"',
            '#define SIGNING_KEY "{}"',
            'if token == b"{}":',
            "private_key=>`{}`",
        )
    ],
    "assigned-password": [
        (template, Draw.password)
        for template in (
            'password = "{}"',
            "login(user, password='{}')",
            'DB_PASSWD: "{}"',
            '{{"pwd": "{}"}}',
            'setPassword("{}")',
            '#define PASSWORD "{}"',
            'String dbPassword = "{}";',
            "('passphrase', '{}')",
        )
    ],
    "url-with-password": [
        (
            template,
            lambda d, head=head, tail=tail: (
                f"{head}tovin:{d.text(WORD, 9)}@{d.choice(('db', 'd1.ex.org', '10.1.2.3'))}{tail}"
            ),
        )
        for template in ("'{}'", "# {}", "DSN={}\n", '"{}" + x')
        for head, tail in (
            ("postgres://", ":5432/app?sslmode=require"),
            ("postgresql+psycopg2://", "/app"),
            ("mysql://", ""),
            ("mongodb+srv://", "/?retryWrites=true"),
            ("rediss://", ":6379/0"),
            ("amqp://", "/v"),
            ("https://", "/x.git"),
            ("jdbc:mysql://", ":3306/a"),
        )
    ]
    + [("'{}'", lambda d: f"redis://:{d.text(WORD, 9)}@[fd00::1]:6379")],
    "connection-fields": [
        ('"{}"', lambda d: f"Server=db,1433;Database=a;User ID=sa;Password={d.text(WORD, 9)};Encrypt=yes"),
        ("'{}'", lambda d: f"DefaultEndpointsProtocol=https;AccountName=ab;AccountKey={d.text(BASE64, 86)}"),
        ("'x?{}'", lambda d: f"user=tovin&password={d.text(WORD, 9)}"),
    ],
    "person-path": [
        (
            template,
            lambda d, head=head: f"{head}{d.choice(PEOPLE)}/{d.choice(('.ssh/id_rsa', 'a/b.csv', 'x'))}",
        )
        for template in (
            "open('{}')",
            "# see {}.",
            "cd {} && ls",
            "file://{}",
            "PATH=/bin:{}:/usr/bin",
            r'"\n{}"',
        )
        for head in ("/home/", "/Users/", "/data/home/", "/var/lib/home/")
    ],
    "person-path-windows": [
        ("'{}'", lambda d: f"C:\\Users\\{d.choice(PEOPLE)}\\Desktop\\a.txt"),
        ('"{}"', lambda d: f"D:\\\\Users\\\\{d.choice(PEOPLE)}\\\\x"),
        ("# {} is", lambda d: f"c:/Users/{d.choice(PEOPLE)}/x.py"),
        ("'{}'", lambda d: "C:\\Documents and Settings\\Jo Marel\\x"),
    ],
    "email": [
        (template, Draw.mail)
        for template in ("'{}'", "# Jo <{}>", "mailto:{}", "to={}&x", "ask {}.", r'"\n{}"', "({}),")
    ],
    "payment-card": [
        (template, lambda d: d.choice("3456") + d.text(DIGITS, 14) + "7")
        for template in ("'{}'", "# card {}", "Card:{} ")
    ]
    + [
        (template, lambda d, mark=mark: mark.join(d.choice("23456") + d.text(DIGITS, 3) for _ in range(4)))
        for template in ("'{}'", "# {}, then", "{}")
        for mark in " -"
    ]
    + [
        ("'{}'", lambda d: "37" + d.text(DIGITS, 13)),
        ("# {} x", lambda d: f"3701 {d.text(DIGITS, 6)} 90125"),
    ],
    "address-of-a-host": [
        ("connect('{}')", Draw.v4),
        ("http://{}/x", Draw.v4),
        ("ssh jo@{}", Draw.v4),
        ("# at {}.", lambda d: f"{d.v4()}:{d.randrange(10, 65536)}"),
    ],
    "address-of-a-host-v6": [
        ("connect('{}')", Draw.v6),
        ("http://{}/x", lambda d: f"[{d.v6()}]"),
        ("# at {}.", lambda d: f"[{d.v6()}]:{d.randrange(10, 65536)}"),
    ],
    "host-with-port": [
        (template, lambda d: f"{d.choice(HOSTS)}:{d.randrange(10, 65536)}")
        for template in ("'{}'", "# at {}.", "={},")
    ]
    + [("'{}'", lambda d: "db.sand.invalid:443"), ("'{}'", lambda d: "db.sand.example:443")],
    "host-in-url": [
        ("https://{}/x", lambda d: d.choice(HOSTS)),
        ("'ldap://{}'", lambda d: d.choice(HOSTS) + ":389"),
    ],
    "host-alone": [("'{}'", lambda d: d.choice(HOSTS)), ('x = "{}"', lambda d: "web-1.example")],
    "host-assigned": [
        ('host="{}"', lambda d: "db.internal"),
        ("'proxy_url': '{}'", lambda d: "cache.hall.local"),
    ],
}

SHAPES = [
    *((name, place, maker) for name, makers in KEYS.items() for maker in makers for place in KEYS_IN_PLACE),
    *((name, place, maker) for name, cases in IN_CONTEXT.items() for place, maker in cases),
]
shapes = st.sampled_from(SHAPES)
draws = st.integers(0, 2**64).map(Draw)


def texts_of(text: str) -> list[str]:
    return [text[found.start : found.end] for found in detect(text)]


def placed(place: str, part: str) -> tuple[str, int]:
    before, after = (half.replace("{{", "{").replace("}}", "}") for half in place.split("{}"))
    return before + part + after, len(before)


@st.composite
def examples(draw) -> str:
    _, place, maker = draw(shapes)
    return placed(place, maker(draw(draws)))[0]


WORDS = sorted({word for rule in rules() for word in rule.keywords + rule.starts})
pieces = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(
        ["/", "\\", ":", "://", "@", "=", '"', "'", "`", ".", "-", " ", "\n", "[", "]", "{", "}", ";", "\\n"]
    ),
    st.text(BASE64, max_size=24),
    st.text(DIGITS + "abcdef:", max_size=24),
    st.text(max_size=5),
    examples(),
)
texts = st.lists(pieces, max_size=12).map("".join)
lines = texts.map(lambda text: text.replace("-----BEGIN", "").replace("-----begin", ""))


# --- what is found


@pytest.mark.parametrize("name", RULES)
def test_every_rule_finds_what_it_is_for(name):
    cases = [(place, maker) for rule, place, maker in SHAPES if rule == name]
    assert cases
    for seed in range(20):
        for place, maker in cases:
            part = maker(Draw(seed))
            text, start = placed(place, part)
            found = set(RULES[name].spans(text, text.lower()))
            assert (start, start + len(part)) in found, text


@pytest.mark.parametrize("name", RULES)
@given(st.data())
def test_what_a_rule_is_for_is_found_wherever_it_stands(name, data):
    place, maker = data.draw(st.sampled_from([(p, m) for rule, p, m in SHAPES if rule == name]))
    part = maker(data.draw(draws))
    before, after = data.draw(st.sampled_from(["", "x = 1\n", "é = 'ü'\n\n", "\t"])), data.draw(lines)
    text, start = placed(place, part)
    found = [f for f in detect(f"{before}{text}\n{after}") if f.start <= len(before) + start < f.end]
    assert len(found) == 1
    assert found[0].end >= len(before) + start + len(part)
    if not after:
        kinds = {
            rule.kind for rule in rules() if (start, start + len(part)) in set(rule.spans(text, text.lower()))
        }
        assert found[0].kind in kinds


@given(st.integers(0, 2**32))
def test_every_canary_is_found(seed):
    for canary in generate(count=60, seed=seed):
        kind = "credential" if canary.kind == "pin" else canary.kind
        assert Secret(start=canary.secret.start, end=canary.secret.end, kind=kind) in detect(canary.text)


@pytest.mark.parametrize("cut", [1, 40, 80, 120])
def test_a_private_key_that_breaks_off_is_found(cut):
    for seed in range(20):
        key = Draw(seed).pem()
        begun = key[: len(key) - cut]
        (found,) = detect(f'KEY = """{begun}')
        assert found.kind == "private-key"
        assert len(begun) - 70 <= found.end - found.start <= len(begun)


def test_a_private_key_with_headers_is_found_whole():
    head = "-----BEGIN RSA PRIVATE" + " KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B2C\n\n"
    body = head + Draw(1).text(BASE64, 64) + "\n" + "Ab1/\n-----END RSA PRIVATE KEY-----"
    assert texts_of(f"x = '''{body}'''") == [body]


NOTHING = r"""
password = "changeme123"
password = os.environ["DB_PASSWORD_2"]
password="${PASSWORD1}"
password = "<your-password-1>"
password = "{password1}"
password = "%(password1)s"
password = "********1a"
password = getpass("Password 1: ")
Buffer.from(password, 'base64')
hash_password(password, "pbkdf2_sha256")
"password": "error.password2"
PASSWORD_URL = "/reset/password1"
password_sha256 = "9f86d081884c7d659a2feaa0c55ad015"
token_sha256 = "9f86d081884c7d659a2feaa0c55ad015"
TOKEN_NAME = "oauth2_access_token_v2"
token = "YOUR_API_KEY_GOES_HERE_123"
secret_key = "xxxxxxxxxxxxxxxx1234"
api_key = process.env["STRIPE_KEY_1_LONG_NAME"]
"Authorization: Bearer <token-of-yours-123>"
"Authorization: Bearer {token_of_the_user_123}"
"basic authentication is used here"
AKIAIOSFODNN7EXAMPLE
.sk-toggleable__content-arrow
task-abcdefghijklmnopqrstuvwxyz
desk-ABCDEFGHIJKLMNOPQRSTUVWXYZ12
sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa
sk-acacacacacacacacacacacacacac
sk-KLMNOPQRSTUVWXYZklmnopqrstuvwxyz
risk_live_with_the_thing
hf_hub_download_to_some_folder
"-----BEGIN RSA PRIVATE KEY-----"
if "-----BEGIN PRIVATE KEY-----" in text: raiseSomethingQuiteLongHere()
postgres://user:password@localhost:5432/app
postgres://{user}:{password}@{host}/app
https://user:pass@example.com/
mysql://app:$PASSWORD@db/app
https://example.com:8080/@scope/package
https://site.org/home/marel/page
./home/marel/x
/home/marel./x
"/home/user/x"
"/home/runner/build/x"
"C:\Users\Public\x"
"C:\Users\%USERNAME%\x"
/home/$USER/x
/home/{name}/x
git@github.com:a/b.git
user@example.com
noreply@site.org
you@site.org
x = a@b.T
x = a@b.shape
@pytest.fixture
icon@2x.png
package@1.2.3
threading.local()
self.local.value
x = {foo.internal: 10}
"threading.local"
"jax._src.internal"
"com.site.internal"
"com.site-2.internal"
"pkg.example"
"host.docker.internal"
"http://169.254.169.254/latest"
"10.0.0.0/8"
version = 10.1.2.3
"110.1.2.3"
"10.1.2.300"
"172.32.0.1"
"8.8.8.8:53"
"127.0.0.1:80"
"172.15.0.1"
https://db.local.site.org/
"::1"
"fade:x:y"
"2001:4860::8888"
sha512-QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODkrLw==
0000 0000 0000 0000
'9007199254740993'
token = "AbcD3fGh1jKlMn0p..."
https://tovin:token@site.org/x
1234 5678 9012 3456
20240101 20240102
3.141592653589793
9007199254740991
6ba7b810-9dad-11d1-80b4-00c04fd430c8
41 4111 2222 3333 4444
4111 2222 3333 4444 5555
""".strip().split("\n")


@pytest.mark.parametrize("line", NOTHING)
def test_placeholders_and_plain_code_are_not_found(line):
    assert texts_of(line) == []


def test_real_code_holds_next_to_nothing_but_authors():
    folder = Path(sysconfig.get_path("stdlib"))
    source = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("[a-o]*.py"))]
    source += [path.read_text(encoding="utf-8") for path in sorted((folder / "asyncio").glob("*.py"))]
    size = sum(map(len, source)) / 1e6
    kinds = [found.kind for text in source for found in detect(text)]
    assert size > 1
    assert kinds.count("email") > 10
    assert sum(kind not in ("email", "internal-host") for kind in kinds) <= 1 * size
    assert kinds.count("internal-host") <= 12 * size  # nearly all in ipaddress.py


# --- laws


@given(texts)
def test_spans_are_sound_and_the_same_each_time(text):
    found = detect(text)
    assert found == detect(text)
    assert all(span.kind in KINDS and 0 <= span.start < span.end <= len(text) for span in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


@given(texts)
def test_the_spans_are_the_joined_finds_of_all_rules_tried_everywhere(text):
    finds = []
    for order, rule in enumerate(rules()):
        for at in range(len(text)):
            match = rule.pattern.match(text, at)
            if match and not (rule.starts and not text[at:].lower().startswith(rule.starts)):
                part = match[1]
                steps = [ord(b) - ord(a) in (0, 1) for a, b in pairwise(part)]
                dull = rule.entropy and (entropy(part) < rule.entropy or 2 * sum(steps) >= len(part))
                if not dull and not any(allowed.search(part) for allowed in rule.allow):
                    finds.append((*match.span(1), order))
    covered = sorted({place for start, end, _ in finds for place in range(start, end)})
    assert {place for span in detect(text) for place in range(span.start, span.end)} <= set(covered)
    for span in detect(text):
        inside = [find for find in finds if span.start <= find[0] and find[1] <= span.end]
        _, _, order = min(inside, key=lambda find: (find[0] - find[1], find[2]))
        assert span.kind == rules()[order].kind
        assert min(find[0] for find in inside) == span.start
        assert max(find[1] for find in inside) == span.end


@given(lines, lines)
def test_a_text_has_the_spans_of_its_lines(first, second):
    border = len(first) + 1
    later = [Secret(start=s.start + border, end=s.end + border, kind=s.kind) for s in detect(second)]
    assert list(detect(f"{first}\n{second}")) == [*detect(first), *later]


@given(texts, lines)
def test_code_that_follows_takes_nothing_away(text, more):
    longer = detect(f"{text}\n{more}")
    for span in detect(text):
        goes_on = re.fullmatch(r"(?:[\s\"'`+,.;()*|>#/]|\\[nrt\\])*", text[span.end :])
        if span.kind == "private-key" and goes_on:  # its next lines may follow
            assert any(s.start == span.start and s.end >= span.end for s in longer)
        else:
            assert span in longer


@given(
    st.sampled_from(
        [s for s in SHAPES if s[0] in {*KEYS, "url-with-password", "person-path", "email", "host-with-port"}]
    ),
    draws,
    st.sampled_from("\"'`"),
)
def test_what_is_found_is_found_again_in_quotes(shape, draw, quote):
    _, place, maker = shape
    text, _ = placed(place, maker(draw))
    for part in texts_of(text):
        again = f"{text}\n\nf({quote}{part}{quote}, 1)\n"
        start = len(text) + 5
        assert any((s.start, s.end) == (start, start + len(part)) for s in detect(again))


def test_offsets_count_characters_also_where_lower_case_is_longer():
    mail = "marel@hall.io"
    key = KEYS["github"][0](Draw(3))
    text = f"İİ ß 'é' 𝒳 {mail} İ '{key}'"
    assert texts_of(text) == [mail, key]


def test_the_longest_find_names_a_span():
    whole = "postgres://tovin:" + "k3jd8sk2" + "@db.corp.lan:5432/x"
    assert detect(f"'{whole}'") == (Secret(start=1, end=1 + len(whole), kind="connection-string"),)
    token = KEYS["github"][0](Draw(5))
    assert texts_of(f'password = "{token}"') == [token]
    assert texts_of(f'"Authorization: Bearer {token}"') == [token]


def test_finds_that_overlap_make_one_span():
    text = "'host=a;user=b;password=" + "k3jd8 tovin@hall.io'"
    assert [s.kind for s in detect(text)] == ["connection-string", "email"]
    text = "'host=a;password=" + "k3jd8;mail=to tovin@hall.io'"
    assert detect(text) == (Secret(start=1, end=len(text) - 1, kind="connection-string"),)
    text = 'token = "' + "AbcD3fGh1jKlMn0pQ.tovin" + '@hall.io"'
    assert len(detect(text)) == 1


def test_finds_that_touch_stay_two():
    draw = Draw(1)
    first, second = IN_CONTEXT["aws-secret-key"][0][1](draw), draw.pem()
    assert texts_of(f"secret_key = {first}{second}\n") == [first, second]


# --- time


FILLERS = ("a", "A1", "0", "-", "_", ".", "/", ":", "@", "=", " ", '"', "a.", "a-", "a:", "://a:", '="a1')


def hostile(name: str) -> Iterator[str]:
    """Texts of some 100 kB that begin what the rule looks for again and again, or do not end it."""
    rule, draw = RULES[name], Draw(name)
    yield draw.text("".join(set(filter(str.isprintable, rule.pattern.pattern))), 100_000)
    words = rule.keywords + rule.starts
    for word in draw.sample(words, min(3, len(words))):
        for form in {word, word.upper()}:
            for filler in ("", *draw.sample(FILLERS, 2)):
                yield (form + filler) * (100_000 // len(form + filler))
            filler = draw.choice(FILLERS)
            yield form + filler * (100_000 // len(filler))
    for place, maker in draw.choices([(place, maker) for rule, place, maker in SHAPES if rule == name], k=2):
        text, _ = placed(place, maker(draw))
        for cut in (text[:-1], text[1:], text[: len(text) // 2 + 1]):
            yield cut * (100_000 // len(cut))


@pytest.mark.parametrize("name", RULES)
def test_no_text_is_slow(name):
    for text in hostile(name):
        start = time.process_time()
        list(RULES[name].spans(text, text.lower()))
        assert time.process_time() - start < 1.0, text[:80]


def test_ten_times_the_text_takes_about_ten_times_the_time():
    mixed = "".join(placed(place, maker(Draw(7)))[0] + "\n" for _, place, maker in SHAPES)

    def took(times: int) -> float:
        start = time.process_time()
        detect(mixed * times)
        return time.process_time() - start

    took(1)
    assert took(10) < 30 * min(took(1) for _ in range(3))


# --- one literal


@given(st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_have_an_answer_and_always_the_same(literal):
    assert sensitive(literal) is sensitive(bytes(literal)) is sensitive(bytes(bytearray(literal)))


@given(texts)
def test_what_holds_a_find_is_sensitive(text):
    text = text.encode("utf-8", "replace").decode()
    for quoted in (text, f'"{text}"'):
        if detect(quoted):
            assert sensitive(quoted.encode())


@given(
    draws,
    st.sampled_from([(WORD, 24), (URL64, 32), (BASE64, 44), (HEX, 32), (HEX, 64), (LOWER + DIGITS, 26)]),
)
def test_random_runs_are_sensitive(draw, alphabet):
    run = "q7" + draw.text(*alphabet) if alphabet[0] is not HEX else "a7" + draw.text(*alphabet)
    for form in ("'{}'", 'rb"prefix {} suffix"', "{}", "'/x?h={}&b'"):
        assert sensitive(form.format(run).encode())


@pytest.mark.parametrize(
    "literal",
    [
        "'4111 1111 2222 1234'",
        "'DE89 3704 0044 0532 0130 00'",
        "'+49 170 1234 5678 9'",
        "4539148803436468",
        "1_234_567_890_123",
        "10.1.2.3",
        "'10.1.2.3",
        "db-1.corp'",
        "'jo@hall.io'",
        "'/home/marel/x'",
        "jo@x.de",
        "fd00::",
        "not-a" + "-key",
        "'d41a0d41b0e42a0d51a7'",
        "'Hgzkq" + "WvTbLpXnRdMcYsJfQaEu'",
    ],
)
def test_these_literals_are_sensitive(literal):
    assert sensitive(literal.encode())


@pytest.mark.parametrize(
    "literal",
    [
        "''",
        "'utf-8'",
        "'name'",
        "0",
        "3.141592653589793",
        "0.1234567890123456",
        "1_000_000_000_000",
        "100000000000000",
        "12345678901",
        "0xFFFFFFFFFFFFFFFFFFFF",
        "'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'",
        "'0123456789abcdef0123456789abcdef'",
        "'----------------------------1'",
        "'The quick brown fox jumps over the lazy dog.'",
        "'application/octet-stream'",
        "'NotImplementedErrorMessages'",
        "'some_rather_long_name_of_a_setting'",
        "'https://docs.python.org/3/library'",
        "'%Y-%m-%dT%H:%M:%S'",
        "'a7bcdefg'",
        "'a0c0a0c0a0c0a0c0a0c0a0'",
        "'a0z0a0z0a0z0a0z0a0z0a0'",
    ],
)
def test_these_literals_are_not(literal):
    assert not sensitive(literal.encode())


# --- the measure and the data


@given(st.text("ab01é", max_size=40))
def test_entropy_is_the_mean_surprise_of_a_character(text):
    shares = [text.count(character) / len(text) for character in text]
    assert entropy(text) == pytest.approx(sum(-math.log2(p) for p in shares) / max(len(text), 1), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_entropy_of_distinct_characters_is_the_logarithm_of_their_number(n):
    text = "".join(map(chr, range(200, 200 + n)))
    assert entropy(text) == pytest.approx(math.log2(n))
    assert entropy(text * 3) == pytest.approx(math.log2(n))


def test_the_rules_are_well_formed():
    data = tomllib.loads((resources.files("probes") / "detectors.toml").read_text(encoding="utf-8"))
    names = [rule["name"] for rule in data["rules"]]
    assert names == list(RULES)
    assert {rule.kind for rule in rules()} == set(KINDS)
    assert {name for rule in data["rules"] for name in rule.get("allow", ())} == set(data["allow"])
    for rule in rules():
        assert rule.pattern.groups == 1
        assert bool(rule.keywords) != bool(rule.starts)
        assert all(word == word.lower() and word.isascii() for word in rule.keywords + rule.starts)
        assert "{" not in re.sub(r"\{[0-9]+(?:,[0-9]*)?\}|\[[^\]]*\]", "", rule.pattern.pattern)


def test_the_same_in_every_process():
    text = "".join(placed(place, maker(Draw(7)))[0] + "\n" for _, place, maker in SHAPES)
    command = [
        sys.executable,
        "-c",
        "import sys; from probes.detect import detect; print(detect(sys.stdin.read()))",
    ]
    output = subprocess.run(command, input=text, capture_output=True, check=True, text=True).stdout
    assert output.strip() == str(detect(text))
