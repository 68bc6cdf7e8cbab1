"""How many small changes of the pure core the unit tests notice: mutmut over its modules.

`make mutants` calls this with the folder that mutmut is installed in; MUTANTS="merge plan" for some of the modules.
mutmut wants its sources in `src`, so it gets a tree of copies under `build/mutants`; everything that it leaves
behind is there, too. Survivors are printed as differences. CONTRIBUTING.md has the figures and the reasons.
"""

from __future__ import annotations

import collections
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "mutants"
CORE = "contactsync/reconciler/core"
MODULES = ("merge", "plan", "match", "observe", "settle", "breaker")
TESTS = (
    "test_merge", "test_merge_laws", "test_plan", "test_match", "test_observe", "test_settle", "test_breaker",
    "test_machine_undo", "test_machine_leaving", "test_machine_lost_state", "test_machine_merges",
    "test_machine_restoring", "test_machine_changes", "test_machine_places",
)  # fmt: skip
WORDS = ("killed", "timeout", "suspicious")
"""What mutmut calls a mutant that was noticed; all else survived."""

PROJECT = """
[tool.pytest.ini_options]
pythonpath = ["src", "tests"]
addopts = "-p no:cacheprovider"
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"

[tool.mutmut]
source_paths = ["src"]
only_mutate = {only}
do_not_mutate_patterns = {never}
pytest_add_cli_args_test_selection = {tests}
max_stack_depth = -1
"""
CONFTEST = """
from hypothesis import HealthCheck, settings

# The same examples every time, so that a figure can be compared with the one before.
settings.register_profile(
    "mutants",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("mutants")
"""


def main(packages: str, wanted: list[str]) -> int:
    modules = [name for name in MODULES if name in wanted] if wanted else list(MODULES)
    lay_out(modules)
    code = subprocess.run(command(packages, ["run"]), cwd=TREE, env=environment(), check=False).returncode
    if code:
        return code
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in modules}
    survivors = []
    for line in output(packages, ["results", "--all", "true"]).splitlines():
        name, _, word = line.strip().rpartition(": ")
        module = name.removeprefix(f"{CORE.replace('/', '.')}.").partition(".")[0]
        if module in counts:
            counts[module]["noticed" if word in WORDS else word] += 1
            if word not in WORDS:
                survivors.append(name)
    print(output(packages, *(["show", name] for name in survivors)) if survivors else "")
    report(counts)
    return 0


def report(counts: dict[str, collections.Counter[str]]) -> None:
    everything: collections.Counter[str] = collections.Counter()
    for name, count in counts.items():
        print(line_of(name, count))
        everything += count
    print(line_of("together", everything))


def line_of(name: str, count: collections.Counter[str]) -> str:
    total = sum(count.values())
    rest = ", ".join(f"{number} {word}" for word, number in count.items() if word != "noticed")
    share = 100 * count["noticed"] / total if total else 0.0
    return f"{name:10} {count['noticed']:5} of {total:5} noticed, {share:5.1f} %   {rest}"


def lay_out(modules: list[str]) -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "services" / "contactsync", TREE / "src" / "contactsync", ignore=ignore)
    shutil.copytree(
        ROOT / "contracts" / "contactsync_contracts", TREE / "src" / "contactsync_contracts", ignore=ignore
    )
    (TREE / "tests").mkdir()
    for path in [*sorted((ROOT / "tests").glob("*.py")), *[ROOT / "tests" / "unit" / f"{t}.py" for t in TESTS]]:
        if path.exists():
            shutil.copy(path, TREE / "tests" / path.name)
    (TREE / "tests" / "conftest.py").write_text(CONFTEST)
    tests = [f"tests/{name}.py" for name in TESTS if (TREE / "tests" / f"{name}.py").exists()]
    only = [f"src/{CORE}/{name}.py" for name in modules]
    (TREE / "pyproject.toml").write_text(PROJECT.format(only=only, tests=tests, never=[]))


def output(packages: str, *commands: list[str]) -> str:
    done = subprocess.run(
        command(packages, *commands), cwd=TREE, env=environment(), check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def command(packages: str, *commands: list[str]) -> list[str]:
    """mutmut's packages come after our own, so that the tests run with the versions of `requirements.lock`."""
    code = f"""
import sys
sys.path.append({packages!r})
from mutmut.__main__ import cli
for words in {list(commands)!r}:
    cli(words, standalone_mode=False)
"""
    return [sys.executable, "-c", code]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ""}


if __name__ == "__main__":
    sys.exit(main(str(pathlib.Path(sys.argv[1]).resolve()), sys.argv[2:]))
