"""A gate as Markdown: for the summary of a CI job, and for a comment on a pull request."""

from reports.blocks import table, written
from reports.escape import markdown_block, markdown_text
from reports.gate import Gate, RuleRow
from reports.gate_statements import (
    bound,
    ordered,
    outcome,
    places,
    sentences,
    short,
    subject,
    title,
)

_SIGNS = {"pass": "✅ pass", "FAIL": "❌ **fail**", "skip": "⚪ skip"}


def render_gate_markdown(gate: Gate) -> str:
    """Return the gate as GitHub-flavoured Markdown. Names in it are escaped: they can be hostile."""
    failed = [row for row in ordered(gate) if not row.passed]
    blocks = [
        f"## {written(title(gate))}",
        markdown_text(gate.text),
        written(subject(gate)),
        table(
            ["", "rule", "measured", "bound", "where"],
            [
                (
                    _SIGNS[outcome(row)],
                    markdown_text(row.name),
                    written(short(row)),
                    bound(row),
                    written(places(row)),
                )
                for row in ordered(gate)
            ],
        ),
        *(["### What failed"] if failed else []),
        *map(_failed, failed),
        *(["### What this does not show"] if gate.not_shown else []),
        "\n".join(f"- {markdown_text(said)}" for said in gate.not_shown),
        "To repeat it:",
        markdown_block(gate.command, "sh"),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _failed(row: RuleRow) -> str:
    why = f"\n- Why: {markdown_text(row.why)}" if row.why else ""
    lines = "\n".join(f"- {written(parts)}" for parts in sentences(row))
    return (
        f"**{markdown_text(row.name.strip())}** (`{row.rule}`: {markdown_text(row.quantity)})\n\n{lines}{why}"
    )
