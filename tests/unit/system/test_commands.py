"""Commands end within their time, and the end of their output is kept."""

import subprocess
import tracemalloc

import pytest
from saltdeploy.system import commands


def test_of_what_a_command_prints_the_end_is_kept_whatever_it_is(tmp_path):
    """…in memory that does not grow with it; the command is never held up by a pipe that nobody empties."""
    script = "yes 'a line' | head -c 50M; printf 'Gr\\303\\274\\303\\237e\\r\\nthe end'; exit 3"
    tracemalloc.start()
    try:
        code, output = commands.execute(["sh", "-c", script], tmp_path, {}, "", 60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code == 3
    assert output.endswith("a line\na line\na liGrüße\nthe end")
    assert len(output.encode()) == commands.KEPT - len("\r")
    assert peak < 10 * commands.KEPT


def test_of_little_that_a_command_prints_all_is_kept(tmp_path):
    assert commands.execute(["seq", "3"], tmp_path, {}, "", 30 * 24 * 3600.0) == (0, "1\n2\n3\n")


def test_a_command_that_hangs_says_so_and_has_the_timeout_as_its_cause(tmp_path):
    with pytest.raises(commands.CommandFailed, match="`sleep 60` hangs: killed after 0.2s") as found:
        commands.execute(["sleep", "60"], tmp_path, None, "", 0.2)
    assert isinstance(found.value.__cause__, subprocess.TimeoutExpired)


def test_a_command_that_cannot_be_started_says_why(tmp_path):
    with pytest.raises(commands.CommandFailed, match="^./none: No such file or directory$"):
        commands.execute(["./none"], tmp_path, None, "", 5)
