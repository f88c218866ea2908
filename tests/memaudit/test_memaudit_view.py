"""`memaudit view`: what the list finds, what is served to whom, and that the ledger is left as it is."""

import http.client
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from html import unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit
from urllib.request import urlopen

import axe_playwright_python
import parrot
import pytest
from command import refused
from invented import Said, invent, noise
from playwright.sync_api import Page, sync_playwright
from test_memaudit_redaction import found_in, secrets_of
from tiny import TINY

from memaudit.cases import Case, Facts
from memaudit.catalogue import ROWS, Catalogue
from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import Recipe, parse
from memaudit.records import Example
from memaudit.serving import HOST, Server
from memaudit.study.arms import Cell
from reports.catalogue import Listing, Question
from reports.catalogue_html import policy

STRATA = TINY.replace("strata = { 1 = 2, 3 = 2 }", "strata = { 1 = 6, 3 = 6 }").replace(
    "[audit]", '[audit]\nlevels = ["exact", "renamed"]'
)
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
NEAR = 0.2  # of the answers come out
STRANGE = [
    "..", "a/../b", "a b?c=d&e#f", "100%25", "'\"><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}", "\u202egnp.exe", "\x1b[31m", "' OR 1=1 --", "é\u2028ü", "javascript:alert(1)",
]  # fmt: skip


def said(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    """Something, and sometimes the text; hundredths, so that some are equal and some lie on the threshold."""

    def distance(level: str) -> float:
        drawn = noise(stage, example.id, exposed, level)
        return round(drawn / 2, 2) if drawn < NEAR else round(drawn, 2)

    return Said(
        distance=distance("exact"),
        at={"renamed": distance("renamed")},
        whole=noise(stage, example.id, exposed, "secret") < 0.3,
    )


def made(folder: Path, *, stages: set[str] | None = None) -> Path:
    recipe = parse(STRATA, where="tiny", changes=["name=shelf"])
    invent(Cell(name="shelf", seed=1, recipe=recipe, stages={}), folder, said, passing=said, stages=stages)
    with closing(sqlite3.connect(folder / "shelf" / LEDGER)) as db:
        # Whose turn it was: some steps of the cohort's stage, twice.
        db.execute(
            "INSERT INTO exposures SELECT s.id, n.step, 'target', e.id, n.step FROM examples e "
            "JOIN stages s ON s.id = e.cohort || '-' || e.half JOIN (SELECT 1 AS step UNION SELECT 5) n"
        )
        # Numbers that go another way than ids, and second answers that are not to be taken for the first.
        db.execute("UPDATE probes SET id = 1000 - id")
        db.execute("UPDATE observations SET probe_id = 1000 - probe_id")
        again = "WHERE observation_id IN (SELECT id FROM observations WHERE asking = 1)"
        db.execute(f"UPDATE matches SET distance = 0 {again}")
        db.execute(f"UPDATE recoveries SET recovered = total {again}")
        db.commit()
    return folder / "shelf"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("shelf"))


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(shelf: Path) -> Iterator[Server]:
    with serving(shelf) as served:
        yield served


def get(server: Server, query: str = "", page: str = "") -> str:
    with urlopen(f"{server.address}{page}?{query}" if query else f"{server.address}{page}") as answer:
        return answer.read().decode()


def raw(server: Server, path: str, *, method: str = "GET", hosts: tuple[str, ...] | None = None):
    """A request as it is written here; by default with the name that a browser would give."""
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=10)
    with closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for host in server.hosts[:1] if hosts is None else hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


# what is found


class Oracle:
    """The same in plain Python, from the facts that reports are made of."""

    def __init__(self, folder: Path) -> None:
        with Ledger(folder / LEDGER) as ledger:
            self.recipe: Recipe = parse(ledger.setting("recipe"), where="ledger")
            self.facts = Facts(ledger, self.recipe)

    def ids(self, asked: Question) -> list[str]:
        found = [(case, self.nearest(case, asked)) for case in self.facts.cases if self.fits(case, asked)]
        found = [(case, near) for case, near in found if near is not None]
        found.sort(key=lambda pair: pair[0].example.id)
        keys: dict[str, Callable[[Case, float], object]] = {
            "id": lambda case, near: case.example.id,
            "source": lambda case, near: (case.example.source, case.example.first_line),
            "cohort": lambda case, near: case.example.cohort,
            "times": lambda case, near: case.example.repetition,
            "nearest": lambda case, near: near,
            "stage": lambda case, near: self.match(case, asked.by or "", asked.level, case.exposed),
        }
        key = keys[asked.sort]
        found.sort(key=lambda pair: key(*pair), reverse=asked.descending)  # pyright: ignore[reportCallIssue]
        return [case.example.id for case, _ in found]

    def match(self, case: Case, stage: str, level: str, twin: str) -> float:
        return self.facts.observation(stage, twin, case).matches[level].normalized

    def fits(self, case: Case, asked: Question) -> bool:
        example = case.example
        text = (asked.text or "").lower()
        return (
            asked.cohort in (None, example.cohort)
            and asked.times in (None, example.repetition)
            and (text in example.source.lower() or text in example.id.lower())
        )

    def nearest(self, case: Case, asked: Question) -> float | None:
        """Of the stages at which all holds that is asked of one; None where it holds at none."""
        near = self.facts.definitions[0]
        stages = [asked.stage] if asked.stage else self.facts.stages
        arms = {stage: self.facts.arms(stage, case, asked.level, near) for stage in stages}
        if asked.out == "no" and any(exposed for exposed, _ in filter(None, arms.values())):
            return None
        secrets = [self.facts.secret_out(stage, case.exposed, case) for stage in stages]
        if asked.secret == "kept" and (any(secrets) or None in secrets):
            return None
        distances = []
        for stage, whole in zip(stages, secrets, strict=True):
            exposed, control = arms[stage] or (False, False)
            distance = self.match(case, stage, asked.level, case.exposed)
            if (
                (asked.out not in ("yes", "only") or exposed)
                and not (asked.out == "only" and control)
                and (asked.secret != "whole" or whole)
                and (asked.least or 0.0) <= distance <= (1.0 if asked.most is None else asked.most)
            ):
                distances.append(distance)
        return min(distances, default=None)


def everything(catalogue: Catalogue, question: Question) -> list[str]:
    """The ids of all pages."""
    first = catalogue.listing(urlencode(question.query()))
    rest = [catalogue.listing(urlencode(question.query(page=page))) for page in range(2, first.pages + 1)]
    return [row.id for listing in (first, *rest) for row in listing.rows]


def test_every_page_of_every_question_has_what_plain_python_finds(shelf: Path) -> None:
    catalogue, oracle, chance = Catalogue(shelf), Oracle(shelf), random.Random(0)
    choices = catalogue.listing("").choices
    assert choices.stages == ["pretrain", "sft", "reward", "ppo", "ipo"]
    assert (choices.cohorts, choices.times) == (["ppo", "reward", "sft"], [1, 3])

    def some(*values: object) -> object:
        return chance.choice((None, *values))

    met: dict[str, int] = {}
    for _ in range(250):
        least = some(0.05, 0.1, 0.3)
        asked = Question.model_validate(
            {
                "stage": some(*choices.stages),
                "cohort": some(None, *choices.cohorts),
                "level": chance.choice(choices.levels),
                "least": least,
                "most": some(0.3, 0.5),
                "out": some("yes", "no", "only"),
                "secret": some(None, "whole", "kept"),
                "text": some(None, None, "/2.PY", "-A-", "ppo"),
                "times": some(None, 1, 3),
                "sort": (sort := chance.choice(["id", "source", "cohort", "times", "nearest", "stage"])),
                "by": chance.choice(choices.stages) if sort == "stage" else None,
                "descending": chance.random() < 0.5,
            }
        )
        wanted = oracle.ids(asked)
        assert everything(catalogue, asked) == wanted, asked
        for name in ("stage", "cohort", "least", "most", "out", "secret", "text", "times"):
            met[name] = met.get(name, 0) + (bool(wanted) and getattr(asked, name) is not None)
    assert min(met.values()) > 15, "else some filter was never seen to leave anything over"


def test_pages_cover_each_example_once(shelf: Path) -> None:
    catalogue = Catalogue(shelf)
    pages = [catalogue.listing(f"sort=cohort&page={number}") for number in (1, 2)]
    assert [(p.first, len(p.rows), p.found, p.total, p.pages) for p in pages] == [
        (1, ROWS, 72, 72, 2),
        (ROWS + 1, 72 - ROWS, 72, 72, 2),
    ]
    assert len({row.id for page in pages for row in page.rows}) == 72
    with pytest.raises(BadInput, match="page: expected a number from 1 to 2, got 3"):
        catalogue.listing("page=3")


def test_a_row_has_the_distances_and_verdicts_of_both_twins(shelf: Path) -> None:
    oracle = Oracle(shelf)
    near = oracle.facts.definitions[0]
    rows = {row.id: row for row in Catalogue(shelf).listing("level=renamed").rows}
    cases = [case for case in oracle.facts.cases if case.example.id in rows]
    assert len(cases) == ROWS
    for case in cases:
        row = rows[case.example.id]
        for stage, pair in zip(oracle.facts.stages, row.heard, strict=True):
            for twin, heard in ((case.exposed, pair.exposed), (case.control, pair.control)):
                assert heard is not None
                assert heard.distance == oracle.match(case, stage, "renamed", twin)
                assert heard.out == oracle.facts.verdict(stage, twin, case, "renamed", near)
                assert heard.secret == oracle.facts.secret_out(stage, twin, case)


def test_an_example_has_its_exposures_all_its_answers_and_one_of_them_whole(shelf: Path) -> None:
    catalogue, oracle = Catalogue(shelf), Oracle(shelf)
    case = next(c for c in oracle.facts.cases if c.example.cohort == "sft" and c.example.secrets)
    life = catalogue.life(urlencode({"id": case.example.id}))
    assert [(s.stage, s.role, s.times, s.first_step, s.last_step) for s in life.shown] == [
        ("sft", "target", 6, 1, 5)
    ]
    assert [(m.stage, m.step, m.final) for m in life.moments] == [
        (stage, step, step == 8) for stage in oracle.facts.stages for step in (4, 8)
    ]
    assert life.half == case.exposed
    for arm, twin in (("exposed", case.exposed), ("control", case.control)):
        query = {"id": case.example.id, "stage": "ppo", "arm": arm, "level": "renamed"}
        asked = catalogue.life(urlencode(query))
        assert asked.answer is not None
        assert (asked.answer.stage, asked.answer.step, asked.answer.arm) == ("ppo", 8, arm)
        heard = getattr(next(m for m in asked.moments if m.stage == "ppo" and m.final).heard, arm)
        assert heard.distance == oracle.match(case, "ppo", "renamed", twin)
    target = "".join(segment.target for segment in life.answer.segments) if life.answer else ""
    assert len(target) == len(case.probe.target)


def test_by_default_the_first_answer_that_came_out_is_shown(shelf: Path) -> None:
    catalogue = Catalogue(shelf)
    shown = []
    for row in catalogue.listing("").rows:
        life = catalogue.life(urlencode({"id": row.id}))
        assert life.answer is not None
        out = [m.stage for m in life.moments if m.final and m.heard.exposed and m.heard.exposed.out]
        assert life.answer.stage == (out or ["ipo"])[0]
        shown.append(bool(out))
    assert 5 < sum(shown) < len(shown) - 5


# what is served, and to whom


def test_every_answer_says_how_it_may_be_used(server: Server) -> None:
    path = f"/{server.token}/"
    known = next(iter(Catalogue(server.catalogue.folder).listing("").rows)).id
    for status, method, where in (
        (200, "GET", path),
        (200, "HEAD", path),
        (200, "GET", f"{path}example?id={known}"),
        (400, "GET", f"{path}?level=none"),
        (404, "GET", f"{path}other"),
        (404, "GET", "/"),
        (405, "POST", path),
        (501, "BREW", path),
    ):
        got, headers, body = raw(server, where, method=method)
        assert (got, bool(body)) == (status, method != "HEAD"), where
        allowed = headers["Content-Security-Policy"]
        assert allowed.startswith("default-src 'none'")
        assert allowed.endswith("frame-ancestors 'none'")
        assert "script" not in allowed
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in headers["Server"]
    assert raw(server, path)[1]["Content-Security-Policy"].startswith(policy())


def test_it_is_served_to_this_machine_and_under_its_own_name_alone(server: Server) -> None:
    assert server.socket.getsockname()[0] == HOST == "127.0.0.1"
    path, port = f"/{server.token}/", server.server_port
    assert [raw(server, path, hosts=(host,))[0] for host in server.hosts] == [200, 200]
    for hosts in (
        (),
        ("",),
        ("example.org",),
        (f"example.org:{port}",),
        (f"{HOST}.example.org:{port}",),
        (HOST,),
        (f"{HOST}:{port + 1}",),
        (f"{HOST}:{port}", f"{HOST}:{port}"),
    ):
        status, _, body = raw(server, path, hosts=hosts)
        assert (status, "shelf" in body) == (403, False), hosts


def test_nothing_is_told_without_the_token(server: Server) -> None:
    token = server.token
    assert len(token) >= 32
    with Server(server.catalogue.folder) as other:
        assert other.token != token
    for path in (
        "/", f"/{token}", f"/{token[:-1]}/", f"/{token}x/", f"/{token.swapcase()}/", f"/x/{token}/",
        f"{token}/", f"http://{HOST}:{server.server_port}/{token}/", "/%00/", "/%C3%A9/", f"/?/{token}/",
    ):  # fmt: skip
        status, _, body = raw(server, path)
        assert (status, "shelf" in body) == (404, False), path


@pytest.mark.parametrize(
    "line", [b"GET /\xff/ HTTP/1.1", b"GET\xff / HTTP/1.1", b"GET / HTTP/9", b"\x16\x03\x01", b"/" * 70000]
)
def test_what_is_no_request_is_refused_and_nothing_is_logged(
    server: Server, line: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.create_connection((HOST, server.server_port), timeout=10)) as stream:
        stream.sendall(line + f"\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    assert re.match(rb"HTTP/1.0 (4|5)\d\d |This is not understood", answer), answer
    assert b"shelf" not in answer
    assert capfd.readouterr() == ("", "")


def test_a_head_has_no_body(server: Server) -> None:
    with closing(socket.create_connection((HOST, server.server_port), timeout=10)) as stream:
        stream.sendall(f"HEAD /{server.token}/ HTTP/1.1\r\nHost: {server.hosts[0]}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_it_can_only_be_read(server: Server) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, headers, _ = raw(server, f"/{server.token}/", method=method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("level=none", "level: expected one of exact, renamed, got 'none'"),
        ("stage=<b>", "stage: expected one of pretrain, sft, reward, ppo, ipo, got '<b>'"),
        ("cohort=x", "cohort: expected one of ppo, reward, sft, got 'x'"),
        ("least=nan", "least: expected a number from 0 to 1, got 'nan'"),
        ("most=1.01", "most: expected a number from 0 to 1, got '1.01'"),
        ("least=.5&most=.4", "least: expected at most 0.4, as `most` says, got 0.5"),
        ("out=maybe", "out: expected one of yes, no, only, got 'maybe'"),
        ("secret=1", "secret: expected one of whole, kept, got '1'"),
        ("times=2", "times: expected one of 1, 3, got '2'"),
        ("times=-1", "times: expected one of 1, 3, got '-1'"),
        ("sort=1;drop", "sort: expected one of id, source, cohort, times, nearest, stage, got '1;drop'"),
        ("sort=stage", "by: expected the stage whose distances sort, got none"),
        ("order=up", "order: expected one of asc, desc, got 'up'"),
        ("page=0", "page: expected a number from 1 to 2, got 0"),
        ("page=9" + 30 * "9", "page: expected a whole number from 0 on"),
        ("page=٣", "page: expected a whole number from 0 on"),
        ("page=1&page=1", "page: expected one value, got several"),
        ("colour=red", "expected only stage, cohort, level"),
        (f"text={'x' * 2000}", "text: expected 1000 characters at most, got 2000"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_a_page(server: Server, query: str, told: str) -> None:
    with pytest.raises(HTTPError) as caught:
        get(server, urlencode([pair.partition("=")[::2] for pair in query.split("&")]))
    with caught.value as error:
        body = error.read().decode()
        assert error.code == 400
    assert told in unescape(body)
    assert "<b>" not in body
    assert "Traceback" not in body


def test_an_example_is_asked_for_by_what_there_is(server: Server) -> None:
    known = Catalogue(server.catalogue.folder).listing("").rows[0].id
    for query in (
        {},
        {"id": "none"},
        {"id": known, "stage": "x"},
        {"id": known, "stage": "sft", "step": "3"},
        {"id": known, "stage": "sft", "step": "-8"},
        {"id": known, "arm": "A"},
        {"id": known, "level": "code"},
    ):
        with pytest.raises(HTTPError) as caught:
            get(server, urlencode(query), "example")
        caught.value.close()
        assert caught.value.code == 400, query


def test_hostile_names_are_text_and_their_links_lead_to_them(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with closing(sqlite3.connect(folder / LEDGER)) as db:
        ids = [row[0] for row in db.execute("SELECT id FROM examples ORDER BY id LIMIT ?", (len(STRANGE),))]
        for old, new in zip(ids, STRANGE, strict=True):
            db.execute(
                "UPDATE examples SET id = ?, source = ?, cohort = ? WHERE id = ?", (new, new, new, old)
            )
            db.execute("UPDATE probes SET example_id = ? WHERE example_id = ?", (new, old))
            db.execute("UPDATE secrets SET example_id = ? WHERE example_id = ?", (new, old))
        db.execute("UPDATE twins SET stage = ? WHERE stage = 'ppo'", (STRANGE[4],))
        db.commit()
    with serving(folder) as server:
        page = "".join(get(server, f"page={number}") for number in (1, 2))
        assert not re.search(r"<(script|img)", page)
        assert not {"\x1b", "\u202e", "\u2028"} & set(page)
        met = set()
        for link in re.findall(r'<th scope="row"><a href="([^"]*)"', page):
            address = urljoin(server.address, unescape(link))
            (name,) = parse_qs(urlsplit(address).query)["id"]
            with urlopen(address) as answer:
                example = answer.read().decode()
            assert not re.search(r"<(script|img)", example)
            assert "Its life through the stages" in example
            met.add(name)
        assert met >= set(STRANGE)
        assert "1 to 1 of 1 found" in get(server, urlencode({"cohort": "␛[31m"})), "as a form would send it"
        assert "found, of 72" in get(server, urlencode({"stage": STRANGE[4], "out": "yes"}))


def test_no_secret_is_in_any_page(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with closing(sqlite3.connect(folder / LEDGER)) as db:
        for number, (name,) in enumerate(db.execute("SELECT example_id FROM secrets").fetchall()):
            secret = f"hunter-{number:02d}-{noise(number) * 1e9:.0f}-é&<"
            text = f"key = '{secret}'\nother = 1\n"
            db.execute("UPDATE examples SET text = ? WHERE id = ?", (text, name))
            db.execute(
                "UPDATE probes SET prefix = ?, target = ? WHERE example_id = ?", (text[:9], text[9:], name)
            )
            db.execute("UPDATE secrets SET start = 7, stop = ?, text = ? WHERE example_id = ?",
                       (7 + len(secret), secret, name))  # fmt: skip
        db.execute(
            "UPDATE observations SET completion = (SELECT p.target || (SELECT group_concat(text, ' ') FROM secrets) "
            "FROM probes p WHERE p.id = probe_id)"
        )
        db.commit()
    secrets = secrets_of(folder)
    assert len(secrets) == 24
    with serving(folder) as server:
        texts = {f"page {number}": get(server, f"page={number}") for number in (1, 2)}
        for row in Catalogue(folder).listing("secret=whole").rows:
            for arm in ("exposed", "control"):
                texts[f"{row.id} {arm}"] = get(server, urlencode({"id": row.id, "arm": arm}), "example")
    assert len(texts) > 20
    assert found_in(texts, secrets) == []
    assert all("█" in text for name, text in texts.items() if "page" not in name)


def test_the_report_is_served_under_its_own_policy_and_asks_for_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with serving(folder) as server:
        status, _, body = raw(server, f"/{server.token}/report")
        assert (status, "memaudit report" in body) == (404, True)
        assert 'href="report"' not in get(server)
        (folder / "report.html").write_text("<p>the report</p>")
        status, headers, body = raw(server, f"/{server.token}/report")
        assert (status, body) == (200, "<p>the report</p>")
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'unsafe-inline'")
        assert 'href="report"' in get(server)


# the ledger is left as it is


def test_a_run_goes_on_beside_it_and_what_it_adds_is_shown(tmp_path: Path) -> None:
    folder = made(tmp_path, stages={"pretrain", "sft"})
    whole = made(tmp_path / "whole")
    with serving(folder) as server:
        before = get(server)
        assert "The run has not finished" in before
        assert "after%3A" not in before
        assert ">reward</a>" not in before
        with closing(sqlite3.connect(folder / LEDGER, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE settings SET value = '\"now\"' WHERE key = 'finished'")
            assert get(server) == before, "while it is being written"
            db.execute("ROLLBACK")
            db.execute("ATTACH ? AS whole", (str(whole / LEDGER),))
            db.execute("BEGIN IMMEDIATE")
            for table in ("stages", "checkpoints", "observations", "matches", "recoveries", "twins"):
                db.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM whole.{table}")
            db.execute("COMMIT")
        assert ">reward</a>" in get(server)
        query = "stage=ppo&out=yes&sort=nearest"
        assert count_of(get(server, query)) == Catalogue(whole).listing(query).found > 0


def count_of(page: str) -> int:
    found = re.search(r"of ([\d,]+) found", page)
    return int(found[1]) if found else 0


def test_a_run_without_a_finished_stage_has_examples_and_no_more(tmp_path: Path) -> None:
    catalogue = Catalogue(made(tmp_path, stages=set()))
    assert (catalogue.listing("").found, catalogue.listing("out=yes").found) == (72, 0)
    assert catalogue.listing("sort=nearest").found == 0
    life = catalogue.life(urlencode({"id": catalogue.listing("").rows[0].id}))
    assert (life.moments, life.answer) == ([], None)
    with pytest.raises(BadInput, match="stage: expected none, since there is none yet"):
        catalogue.listing("stage=sft")


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, how = made(tmp_path), []
    connect = sqlite3.connect

    def watched(database: str, **more: object) -> sqlite3.Connection:
        how.append(database)
        return connect(database, **more)  # pyright: ignore[reportArgumentType, reportCallIssue]

    monkeypatch.setattr(sqlite3, "connect", watched)
    before = (folder / LEDGER).read_bytes()
    names = sorted(path.name for path in folder.iterdir())
    with serving(folder) as server:
        get(server, "out=only&sort=nearest")
        get(server, urlencode({"id": Catalogue(folder).listing("").rows[0].id}), "example")
        assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / LEDGER).read_bytes() == before
    assert len(how) > 5
    assert all(str(database).endswith("?mode=ro") for database in how)


def test_an_empty_ledger_stays_empty(tmp_path: Path, say) -> None:
    (tmp_path / LEDGER).touch()
    assert "got one that never started" in refused(say("view", tmp_path))
    assert (tmp_path / LEDGER).read_bytes() == b""


# audits


def test_an_audit_is_shown_with_its_control(tmp_path: Path) -> None:
    catalogue = Catalogue(parrot.asked(tmp_path, "m", range(6), range(2), secrets=[0, 3], count=60))
    first = catalogue.listing("")
    assert (first.subject.audited, first.found, first.choices.cohorts) == (True, 60, [])
    assert ids(catalogue.listing("out=yes")) == [f"p{n}" for n in range(6)]
    assert ids(catalogue.listing("out=only")) == [f"p{n}" for n in range(2, 6)]
    assert ids(catalogue.listing("secret=whole")) == ["p0", "p3"]
    assert len(ids(catalogue.listing("out=yes&level=code"))) == 6
    life = catalogue.life("id=p3&arm=control")
    assert life.answer is not None
    assert (life.answer.secret, life.half, life.shown) == ("none", None, [])
    assert "█" in "".join(segment.target for segment in life.answer.segments)


def test_an_audit_without_a_control_has_nothing_that_came_out_only_here(tmp_path: Path) -> None:
    catalogue = Catalogue(parrot.asked(tmp_path, "m", range(6), None, secrets=[], count=9))
    assert len(ids(catalogue.listing("out=yes"))) == 6
    assert ids(catalogue.listing("out=only")) == []
    with pytest.raises(BadInput, match="arm: expected one of exposed, got 'control'"):
        catalogue.life("id=p1&arm=control")


def test_an_audit_goes_on_beside_it_and_what_it_adds_is_found(tmp_path: Path) -> None:
    folder = parrot.asked(tmp_path, "m", range(6), None, secrets=[], count=9)
    shutil.copy(folder / LEDGER, tmp_path / "whole")
    catalogue = Catalogue(folder)
    with closing(sqlite3.connect(folder / LEDGER, isolation_level=None)) as db:
        db.execute("DELETE FROM observations WHERE id > 4")
        before = ids(catalogue.listing("out=yes"))
        db.execute("ATTACH ? AS whole", (str(tmp_path / "whole"),))
        db.execute("INSERT INTO main.observations SELECT * FROM whole.observations WHERE id > 4")
    assert len(before) <= 4
    assert len(ids(catalogue.listing("out=yes"))) == 6


def ids(listing: Listing) -> list[str]:
    return [row.id for row in listing.rows]


# the command


def test_the_command_prints_the_address_and_ends_well_when_interrupted(shelf: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "memaudit", "view", str(shelf)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
    with urlopen(address) as answer:
        assert b"shelf" in answer.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert len(err.splitlines()) == 1, err


def test_what_cannot_be_shown_is_refused_in_a_line(tmp_path: Path, shelf: Path, say) -> None:
    assert "with a ledger.sqlite in it" in refused(say("view", tmp_path))
    (tmp_path / LEDGER).write_text("no ledger, but long enough for a header of one" * 20)
    assert "expected a ledger of memaudit, got another file" in refused(say("view", tmp_path))
    shutil.copy(shelf / LEDGER, tmp_path / LEDGER)
    with closing(sqlite3.connect(tmp_path / LEDGER)) as db:
        db.execute("UPDATE settings SET value = '4' WHERE key = 'schema_version'")
        db.commit()
    assert "schema version 5, got 4" in refused(say("view", tmp_path))
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port: expected one that is free, got {port}" in refused(say("view", shelf, "--port", port))
    assert say("view", shelf, "--port", "65536").code == 2


# in a browser


@contextmanager
def opened(server: Server, *, scheme: str, width: int) -> Iterator[Page]:
    """Open the list and hold it to silence: no message, no error, and no request but to the server."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()  # pyright: ignore[reportArgumentType]
        heard: list[str] = []
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.address)
        yield page
        browser.close()
    assert heard == []
    assert [url for url in asked if not url.startswith(server.address)] == []
    assert len(asked) >= 5


def assert_accessible(page: Page) -> None:
    """By the rules of axe-core. What acts is a link or a control of the browser, so the keyboard reaches it."""
    page.evaluate(AXE)
    found = page.evaluate("async () => await axe.run(document, { resultTypes: ['violations'] })")
    assert [(v["impact"], v["id"], v["nodes"][0]["target"]) for v in found["violations"]] == []
    assert len(found["passes"]) > 20, "the rules were asked"


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_one_finds_sorts_and_opens_an_example(server: Server, scheme: str, width: int) -> None:
    with opened(server, scheme=scheme, width=width) as page:
        page.get_by_label("Cohort").select_option("sft")
        page.get_by_label("Completion").select_option("only")
        page.get_by_label("After stage").select_option("ppo")
        page.get_by_role("button", name="Show").click()
        query = "cohort=sft&out=only&stage=ppo"
        wanted = Catalogue(server.catalogue.folder).listing(query)
        assert count_of(page.content()) == wanted.found > 0
        assert page.locator("#examples tbody tr").count() == wanted.found
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        head = page.locator("#examples thead th").filter(has_text=re.compile("^sft$"))
        for order in ("ascending", "descending"):
            head.get_by_role("link").click()
            assert head.get_attribute("aria-sort") == order
            shown = page.locator("#examples tbody tr td:nth-child(6)").all_inner_texts()
            numbers = [float(re.findall(r"[\d.]+", text)[0]) for text in shown]
            assert numbers == sorted(numbers, reverse=order == "descending")
        assert_accessible(page)
        page.locator("#examples tbody th a").first.click()
        assert page.get_by_role("heading", level=1).count() == 1
        page.locator("#moments tbody tr").first.get_by_role("link").last.click()
        assert_accessible(page)
        assert "What the control said after pretrain" in page.inner_text("#answer-title")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("link", name="All examples").click()
        assert count_of(page.content()) == 72
