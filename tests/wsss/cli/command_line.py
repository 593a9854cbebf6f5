"""A command of the program, and the error of one that refuses its input."""

from pathlib import Path

from typer.testing import CliRunner, Result

from wsss.cli import app


def wsss(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def printed(*arguments: object) -> Path:
    """The path that a command prints, and nothing else on stdout, when it succeeds."""
    result = wsss(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    (line,) = result.stdout.splitlines()
    return Path(line)


def error(*arguments: object) -> str:
    """The only `wsss:` line on stderr, and the last, of a command that refuses its input."""
    result = wsss(*arguments)
    assert result.exit_code == 2, (result.output, result.exception)
    lines = [line for line in result.stderr.splitlines() if line.startswith("wsss: ")]
    assert len(lines) == 1 and result.stderr.endswith(lines[0] + "\n"), result.stderr
    assert "Traceback" not in result.stderr
    return str(lines[0])
