"""A command of the program, and the sentence of one that refuses its input."""

from click.testing import Result
from typer.testing import CliRunner

from wsss.cli import app


def wsss(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sentence(*arguments: object) -> str:
    """The only line on stderr of a command that refuses its input."""
    result = wsss(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("wsss: ")]
    assert len(lines) == 1 and result.stderr.endswith(lines[0] + "\n"), result.stderr
    assert "Traceback" not in result.stderr
    return str(lines[0])
