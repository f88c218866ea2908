"""Texts given as lines of JSON: what is taken as it came, and what each fault is told to be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit import corpus
from memaudit.corpus import Span, load
from memaudit.errors import BadInput

GOOD = '{"text": "x = 1", "language": "python"}'
PASSWORD = "hunter2"


def write(folder, content, name="given.jsonl"):
    path = folder / name
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return str(path)


def complaint(path, **settings):
    with pytest.raises(BadInput) as caught:
        load("jsonl", path, **settings)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_a_line_is_taken_as_it_came(tmp_path):
    text = "\r\n  key = 'žluť 🐎'\x0c\x00"
    line = {"text": text, "language": "Fortran 77", "id": "a\\b\nc", "secrets": [[9, 15], [2, 5]]}
    loaded = load("jsonl", write(tmp_path, f"\ufeff\n{json.dumps(line)}\r\n \t\n{GOOD}"))
    first, second = loaded.units
    assert (first.text, first.language, first.kind, first.id) == (text, "Fortran 77", "given", "a\\b\nc")
    assert (first.source, first.first_line, first.last_line) == ("a\\\\b\\nc", 2, 2)
    assert first.secrets == (Span(start=2, end=5, kind="secret"), Span(start=9, end=15, kind="secret"))
    assert (second.text, second.source, second.id, second.secrets) == ("x = 1", "given.jsonl:4", None, ())
    assert loaded.description == "given.jsonl: 2 texts"


def test_a_span_may_say_its_kind(tmp_path):
    line = {
        "text": "abc",
        "language": "c",
        "secrets": [{"start": 0, "end": 3, "kind": "key"}, {"start": 1, "end": 2}],
    }
    (unit,) = load("jsonl", write(tmp_path, json.dumps(line))).units
    assert unit.secrets == (Span(start=0, end=3, kind="key"), Span(start=1, end=2, kind="secret"))


def test_sizes_do_not_apply(tmp_path):
    (unit,) = load("jsonl", write(tmp_path, GOOD), smallest=50, largest=60).units
    assert unit.text == "x = 1"


def test_raw_line_separators_of_unicode_do_not_end_a_line(tmp_path):
    loaded = load("jsonl", write(tmp_path, '{"text": "a\u2028b\x85c", "language": "x"}\n' + GOOD))
    assert [unit.text for unit in loaded.units] == ["a\u2028b\x85c", "x = 1"]


def test_the_order_is_that_of_the_names(tmp_path):
    lines = [json.dumps({"text": name, "language": "x", "id": name}) for name in ("b", "c", "a")]
    units = load("jsonl", write(tmp_path, "\n".join(lines))).units
    assert [unit.id for unit in units] == ["a", "b", "c"]
    assert [unit.first_line for unit in units] == [3, 1, 2]


def test_equal_texts_are_kept_once_and_counted(tmp_path):
    loaded = load("jsonl", write(tmp_path, "\n".join([GOOD, GOOD.replace("1", "2"), GOOD])))
    assert [unit.source for unit in loaded.units] == ["given.jsonl:1", "given.jsonl:2"]
    assert loaded.description == "given.jsonl: 2 texts, 1 repeated text left out"


@pytest.mark.parametrize("more", ['"secrets": [[0, 1]]', '"language": "c"'])
def test_equal_texts_must_agree_on_language_and_secrets(tmp_path, more):
    other = '{"text": "x = 1", ' + (more if "language" in more else more + ', "language": "python"') + "}"
    message = complaint(write(tmp_path, f"{GOOD}\n\n{other}"))
    assert "given.jsonl:3: expected equal texts to have equal language and secrets" in message
    assert "line 1" in message


FAULTS = {
    '{"text": "hunter2", "language": "x"': ["does not parse: Expecting ',' delimiter (column 36)"],
    '{"text": "hunter2\\q", "language": "x"}': ["does not parse: Invalid \\escape", "(column 18)"],
    '{"text": "hunter2", "text": "b", "language": "x"}': ['the key "text" comes twice'],
    "[" * 100_000: ["nested too deeply"],
    '{"text": ' + "9" * 5000 + "}": ["does not parse", "4300 digits"],
    "[]": ["expected a JSON object", "got a list"],
    '"hunter2"': ["expected a JSON object", "got a string"],
    "3": ["got a number"],
    "null": ["got null"],
    '{"text": "hunter2", "language": "x", "sekrets\\n": []}': ["text, language, id, secrets", '"sekrets\\n"'],
    '{"text": "hunter2", "language": "x", "' + "k" * 500 + '": 1}': ['"' + "k" * 60 + '..."'],
    '{"language": "x"}': ['expected the key "text", got none'],
    '{"text": "hunter2"}': ['expected the key "language", got none'],
    '{"text": 3, "language": "x"}': ['expected "text" to be a string, got a number'],
    '{"text": ["hunter2"], "language": "x"}': ['expected "text" to be a string, got a list'],
    '{"text": "hunter2", "language": null}': ['expected "language" to be a string, got null'],
    '{"text": "hunter2", "language": true}': ['expected "language" to be a string, got true'],
    '{"text": "hunter2", "language": "x", "id": {}}': ['expected "id" to be a string, got an object'],
    '{"text": "", "language": "x"}': ['expected "text" to hold more than white space, got 0 characters'],
    '{"text": " \\n", "language": "x"}': ['expected "text" to hold more than white space, got 2 characters'],
    '{"text": "hunter2", "language": ""}': ['expected "language" to hold more'],
    '{"text": "hunter2", "language": "x", "id": ""}': ['expected "id" to hold more'],
    '{"text": "hunter2 \\ud83d", "language": "x"}': [
        'expected "text" to be valid',
        "(\\ud83d) at character 8",
    ],
    '{"text": "hunter2", "language": "x", "id": "\\udc00"}': ['expected "id" to be valid Unicode'],
    '{"text": "hunter2", "language": "x", "secrets": "a"}': ['"secrets" to be a list of spans, got a string'],
    '{"text": "hunter2", "language": "x", "secrets": [[0, 7], 4]}': [
        "secrets[1]: expected [start, end]",
        "a number",
    ],
    '{"text": "hunter2", "language": "x", "secrets": [[0]]}': ["secrets[0]: expected [start, end]"],
    '{"text": "hunter2", "language": "x", "secrets": [[0, 1, 2]]}': ["secrets[0]: expected [start, end]"],
    '{"text": "hunter2", "language": "x", "secrets": [[0, true]]}': ["secrets[0]: expected [start, end]"],
    '{"text": "hunter2", "language": "x", "secrets": [[0, 1.0]]}': ["secrets[0]: expected [start, end]"],
    '{"text": "hunter2", "language": "x", "secrets": [{"start": 0}]}': ["secrets[0]: expected [start, end]"],
    '{"text": "hunter2", "language": "x", "secrets": [{"start": 0, "end": 1, "name": "k"}]}': [
        "secrets[0]: expected no keys but start, end, kind",
        '"name"',
    ],
    '{"text": "hunter2", "language": "x", "secrets": [{"start": 0, "end": 1, "kind": 3}]}': [
        'secrets[0]: expected "kind" to be a string, got a number'
    ],
    '{"text": "hunter2", "language": "x", "secrets": [[0, 8]]}': [
        "secrets[0]: expected 0 <= start < end <= 7",
        "end 8",
    ],
    '{"text": "hunter2", "language": "x", "secrets": [[-1, 3]]}': ["start -1 and end 3"],
    '{"text": "hunter2", "language": "x", "secrets": [[3, 3]]}': ["start 3 and end 3"],
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[:40])
def test_a_fault_is_told_with_file_and_line_and_without_the_text(tmp_path, fault):
    path = write(tmp_path, f"{GOOD}\n\n{fault}\n")
    message = complaint(path)
    assert message.startswith(f"{path}:3: ")
    assert PASSWORD not in message
    for fact in FAULTS[fault]:
        assert fact in message


def test_ids_must_differ_also_from_the_names_of_other_lines(tmp_path):
    first = '{"text": "a", "language": "x", "id": "given.jsonl:2"}'
    message = complaint(write(tmp_path, f"{first}\n{GOOD}"))
    assert 'given.jsonl:2: expected an id of its own, got "given.jsonl:2", which line 1 has' in message
    again = '{"text": "b", "language": "x", "id": "given.jsonl:2"}'
    assert "given.jsonl:3: expected an id of its own" in complaint(write(tmp_path, f"{first}\n\n{again}"))


@pytest.mark.parametrize("size", [0, 40])
def test_a_byte_that_is_not_utf8_is_told_with_its_offset_in_the_file(tmp_path, size):
    before = f"{GOOD}\n{' ' * size}".encode()
    message = complaint(write(tmp_path, before + b'{"text": "caf\xe9"}'))
    assert "given.jsonl:2: expected UTF-8, got byte 0xe9" in message
    assert f"at offset {len(before) + 13} of the file" in message
    assert "convert" in message


@pytest.mark.parametrize("content", ["", "\n \n\t\r\n", "\ufeff"])
def test_a_file_without_a_line_is_bad_input(tmp_path, content):
    message = complaint(write(tmp_path, content))
    assert "given.jsonl: expected a JSON object on each line, got no line at all; set corpus.path" in message


def test_a_missing_file_and_a_directory_are_bad_input(tmp_path):
    missing = complaint(str(tmp_path / "no\nfile"))
    assert (
        'no\\nfile: expected a .jsonl file for corpus.source = "jsonl", got a path that does not exist'
        in missing
    )
    assert "got a directory; set corpus.path to a file" in complaint(str(tmp_path))
    assert "expected a .jsonl file" in complaint(None)


def test_a_setting_without_effect_is_bad_input(tmp_path):
    message = complaint(write(tmp_path, GOOD), exclude=("a*", "b"))
    assert "expected no corpus.exclude" in message
    assert "a*, b" in message


def test_a_file_that_cannot_be_read_is_bad_input(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("memaudit.lines.open", refuse, raising=False)
    assert "given.jsonl: expected to read it, got: Permission denied" in complaint(write(tmp_path, GOOD))


def test_the_public_names_are_those_of_the_corpus():
    assert corpus.Span is Span
    assert corpus.SOURCES == ("stdlib", "package", "directory", "git", "jsonl")


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)


@given(st.lists(TEXTS, min_size=1, max_size=8, unique=True), st.booleans(), st.data())
def test_what_is_written_is_read_back(tmp_path_factory, texts, escaped, data):
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    lines = []
    for number, text in enumerate(texts):
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        record = {"text": text, "language": "x", "id": f"{number}", "secrets": [[start, end]]}
        lines.append((record, Span(start=start, end=end, kind="secret")))
    body = "\n".join(json.dumps(record, ensure_ascii=escaped) for record, _ in lines)
    path.write_text(body, encoding="utf-8", newline="")
    units = load("jsonl", str(path)).units
    assert [(unit.text, unit.id, unit.secrets) for unit in units] == [
        (record["text"], record["id"], (span,)) for record, span in lines
    ]
