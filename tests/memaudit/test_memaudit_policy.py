"""A policy's file: what it may say, and the one line that it is refused with."""

import re
from pathlib import Path

import pytest
import typer
import yaml

from memaudit.bounds import least_for_upper
from memaudit.cli.app import app
from memaudit.errors import BadInput
from memaudit.judges import RULES
from memaudit.policy import KINDS, POLICIES, Policy, load, parse

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "gates.md").read_text(encoding="utf-8")


def policy(rules: str = "", above: str = "") -> str:
    return f'name = "mine"\n{above}\n' + rules


def rule(kind: str = "memorized", *lines: str, name: str = "a rule") -> str:
    return "\n".join(["[[rules]]", f'name = "{name}"', f'rule = "{kind}"', *lines, ""])


def test_what_is_left_out_has_a_default() -> None:
    found = parse(policy(rule("memorized", "at_most = 0.1")), where="mine.toml")
    (first,) = found.rules
    assert first.model_dump() == {
        "name": "a rule",
        "why": "",
        "missing": "fail",
        "stages": [],
        "cohorts": [],
        "exposure": [],
        "strata": [],
        "kind": None,
        "level": "exact",
        "definition": "near",
        "at_most": 0.1,
        "interval": "exact",
        "rule": "memorized",
    }
    assert (found.threshold, found.confidence) == (None, 0.95)
    assert len(found.digest()) == 64
    assert found.digest() != parse(policy(rule("memorized", "at_most = 0.2")), where="").digest()


CAP = "at_most = 0.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "expected TOML"),
        ('name = "mine"', "rules: expected a value, got none: set rules"),
        ('name = "mine"\nrules = []', "rules: List should have at least 1 item"),
        ('name = "mine"\nrules = 3', "rules: Input should be a valid list"),
        ('name = "mine"\nrules = [3]', "rules[0]"),
        (policy(rule("memorized", CAP), "limit = 3"), "limit: expected no such key, got 3: known here are name"),
        (policy(rule("memorised", CAP)), "rules[0] (a rule).rule: expected one of memorized, exposed, pers"),
        (policy('[[rules]]\nname = "x"\n'), "rules[0] (x).rule: expected a value, got none: set it to one of mem"),
        (policy(rule("memorized")), "rules[0] (a rule).at_most: expected a value, got none"),
        (policy(rule("memorized", "at_mots = 0.1", CAP)), "(a rule).at_mots: expected no such key, got 0.1: known h"),
        (policy(rule("noise", 'cohorts = ["x"]', CAP)), "cohorts: expected no such key"),
        (policy(rule("memorized", "at_most = 0.0")), "at_most: Input should be greater than 0, got 0.0"),
        (policy(rule("memorized", "at_most = 1.0")), "at_most: Input should be less than 1, got 1.0"),
        (policy(rule("secrets", "at_most = 0.5")), "at_most: Input should be a valid integer"),
        (policy(rule("tested", "at_least = 0")), "at_least: Input should be greater than 0"),
        (policy(rule("exposed", CAP, 'level = "shape"')), "level: Input should be 'exact', 'layout', 'code' or 're"),
        (policy(rule("exposed", CAP, 'missing = "ok"')), "missing: Input should be 'fail' or 'pass', got 'ok'"),
        (policy(rule("exposed", CAP, name="")), "rules[0] ().name: String should match"),
        (policy(rule("exposed", CAP) * 2), "rules[1] (a rule).name: expected a name that no rule above it has"),
        (policy(rule("persistence", CAP)), "before: expected a value, got none"),
        (
            policy(rule("persistence", CAP, 'before = "sft"', 'stages = ["sft"]')),
            "stages: expected stages after before = 'sft'",
        ),
        (policy(rule("regression")), "rules[0] (a rule): expected at_most or alpha, got neither: set one"),
        (policy(rule("regression", "at_most = 1", "alpha = 0.05")), "expected at_most or alpha, got both"),
        (
            policy(rule("exposed", CAP, 'level = "code"', 'definition = "secret"')),
            'level: expected "exact" with definition = "secret"',
        ),
        (
            policy(rule("exposed", CAP, 'interval = "wilson"'), "confidence = 0.99"),
            'interval: expected "exact" with confidence = 0.99, got "wilson"',
        ),
        (policy(rule("exposed", CAP), "confidence = 95"), "confidence: Input should be less than 1, got 95"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(text: str, expected: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(text, where="mine.toml")
    said = str(refused.value)
    assert said.startswith("mine.toml: ")
    assert expected in said
    assert "\n" not in said


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="name of a built-in policy \\(user-code\\), got 'nowhere', which is"):
        load("nowhere")
    (tmp_path / "x.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(BadInput, match=r"expected UTF-8, got byte 0xff at 8"):
        load(str(tmp_path / "x.toml"))
    with pytest.raises(BadInput, match=r"expected the name of a built-in policy \(user-code\)"):
        POLICIES.text("usercode")


def test_every_kind_of_rule_is_judged_and_every_key_documented_in_the_code_and_in_the_guide() -> None:
    assert set(RULES) == set(KINDS)
    for name, settings in KINDS.items():
        assert RULES[name].settings is settings
        assert f"`{name}`" in GUIDE
        for key, field in settings.model_fields.items():
            assert field.description or key == "rule", f"{name}.{key}"
            assert f"`{key}`" in GUIDE or key in ("name", "rule"), key
    for key, field in Policy.model_fields.items():
        assert field.description, key
        assert key == "rules" or f"`{key}`" in GUIDE


def test_the_built_in_policies_hold_to_their_own_words() -> None:
    assert POLICIES.names() == ["user-code"]
    found = load("user-code")
    assert found.name == "user-code"
    assert found.threshold == 0.1
    assert len(found.not_shown) >= 4
    assert all(r.why for r in found.rules)
    assert all(r.missing == "fail" for r in found.rules)
    # Each rule has a comment above it that says why it is there.
    text = POLICIES.text("user-code")
    assert len(re.findall(r"^# .+\n\[\[rules\]\]$", text, re.MULTILINE)) == len(found.rules)


def test_the_policies_of_the_guide_can_be_read() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert blocks
    for block in blocks:
        assert parse(block, where="docs/gates.md").rules


def test_the_workflow_of_the_guide_calls_commands_and_options_that_there_are() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    steps = yaml.safe_load(block)["jobs"]["gate"]["steps"]
    lines = [step["run"] for step in steps if step.get("run", "").startswith("memaudit ")]
    assert [line.split()[1] for line in lines] == ["run", "check", "report"]
    command = typer.main.get_command(app)
    for line in lines:
        words = line.split()[1:]
        # Parsed, and not carried out.
        command.make_context("memaudit", list(words), resilient_parsing=True)
        sub = command.commands[words[0]]  # pyright: ignore[reportAttributeAccessIssue]
        sub.make_context(words[0], words[1:])


def test_the_table_of_the_guide_says_how_many_examples_a_bound_needs() -> None:
    shares = re.search(r"for a rate of at most \|(.*)\|", GUIDE)
    needs = re.search(r"examples that are needed if none comes out \|(.*)\|", GUIDE)
    assert shares
    assert needs
    for share, count in zip(shares[1].split("|"), needs[1].split("|"), strict=True):
        bound = float(share.strip(" %")) / 100
        assert least_for_upper(bound, "exact", 0.95) == int(count.replace(",", ""))


def test_the_command_prints_a_built_in_policy(say) -> None:
    assert say("policy", "show", "user-code").out == POLICIES.text("user-code")
