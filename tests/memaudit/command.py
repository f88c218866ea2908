"""What a command says when it is run in this process."""


class Said:
    """Exit code and output of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def refused(said: Said) -> str:
    """The one line of a refusal."""
    assert said.code == 2, said.err
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if line.startswith("memaudit: error: ")]
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    return lines[0]
