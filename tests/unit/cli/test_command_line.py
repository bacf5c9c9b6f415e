"""The command line as a whole: exit codes, help, JSON, streams that fail, imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipec.cli.main import COMMANDS, main
from tests.unit.conftest import Workplace

MAIN = [sys.executable, "-m", "recipec.cli.main"]


def modules_after(*words: str) -> set[str]:
    """What a fresh interpreter has imported once the command is done."""
    script = (
        "import sys\n"
        "from recipec.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print('\\n' + ' '.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"jsonschema", "ruamel.yaml", "jinja2", "rich", "docker", "uv", "requests", "urllib3"} | {
    "torch",
    "transformers",
    "msgspec",
    "isal",
}


def test_importing_the_package_imports_nothing_else() -> None:
    script = (
        "import sys; before = set(sys.modules); import recipec; print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["recipec"]


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("cache", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert not HEAVY & modules_after(*words)


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, summary in COMMANDS.items():
        assert f" {name} {summary}" in text
    assert "Exit codes: 0 done, 1 the recipe is wrong, 2 wrong usage" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: recipec {command} ")
    assert COMMANDS[command].split(":")[0].lower() in " ".join(out.split()).lower()
    assert "--json" in out
    assert err == ""


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "recipec 0.1.0\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--json"],
        ["nothing"],
        ["check"],
        ["check", "--nothing", "a.yaml"],
        ["init"],
        ["init", "a", "--task", "sorting"],
        ["diff", "a"],
        ["cache"],
        ["cache", "burn"],
        ["cache", "gc", "--older-than", "soon"],
        ["cache", "gc", "--older-than", "nan"],
        ["cache", "gc", "--older-than", "30"],
        ["cache", "gc", "--older-than", "-1d"],
        ["cache", "gc", "--keep", "much"],
        ["cache", "gc", "--keep", "-1GB"],
        ["cache", "gc", "--repair"],
        ["cache", "verify", "--dry-run"],
        ["cache", "info", "--keep", "1GB"],
        ["build", "--jobs", "0", "a.yaml"],
        ["build", "--jobs", "many", "a.yaml"],
    ],
)
def test_wrong_usage_is_2_and_prints_nothing_on_stdout(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err


_words = (
    st.sampled_from(sorted(COMMANDS))
    | st.sampled_from(
        ["--json", "--help", "-o", "--jobs", "--older-than", "--locked", "--stage", "-x"]
    )
    | st.sampled_from(["info", "gc", "verify", "train", "0", "nan", "--engine", "host", "-", "--"])
    | st.sampled_from(["", ".", "/", "/dev/null", "nothing.yaml", "a.json", "x" * 300, "é", "a\nb"])
    | st.sampled_from(["\0", "registry.example/a"])
)


@given(words=st.lists(_words, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_arguments_end_in_a_bug(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECIPEC_CACHE", str(tmp_path / "cache"))
    assert main(words) in {0, 1, 2, 3, 4, 5}


# Streams


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written(workplace: Workplace, unbuffered: str) -> None:
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": unbuffered,
        "RECIPEC_CACHE": str(workplace.cache),
    }
    for words in (["schema"], ["cache", "info", "--json"], ["check", "nothing.yaml", "--json"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [*MAIN, *words], stdout=full, stderr=subprocess.PIPE, env=environment, check=False
            )
        assert done.returncode == 3
        last = done.stderr.decode().splitlines()[-1]
        assert last.endswith("No space left on device"), done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_is_no_error(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MAIN, "schema"], stdout=write, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams() -> None:
    for close in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {close}', "sh", *MAIN, "schema"], capture_output=True, check=False
        )
        assert done.returncode == 0
        assert b"Traceback" not in done.stderr


def test_json_is_json_under_any_encoding(workplace: Workplace) -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = workplace.run(
            "check", "né😀.yaml", "--json", environment={"PYTHONIOENCODING": encoding}
        )
        assert done.code == 1
        assert json.loads(done.out)["diagnostics"][0]["file"] == "né😀.yaml"


def test_differences_print_under_any_encoding(workplace: Workplace) -> None:
    text = workplace.recipe.read_text()
    other = workplace.recipe.with_name("other.yaml")
    other.write_text(text.replace("type: summarization", "type: summarization\n  prefix: 'é😀 '"))
    words = ("diff", "recipes/legal-t5.yaml", "recipes/other.yaml")
    done = workplace.run(*words, environment={"PYTHONIOENCODING": "ascii"})
    assert (done.code, done.out) == (0, "task.prefix:  -> \\xe9\\U0001f600 \n")
