"""The Dockerfile keeps its promises: what it can be held to without Docker."""

import json
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from checkout import ROOT
from lamina.cli import _parser
from lamina.commands import serve
from serving import Lengths, serving, wait_until_ready


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile and their arguments, in order."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def copied() -> list[Path]:
    """What is copied into the image, relative to the checkout."""
    return [Path(source) for arguments in arguments_of("COPY") for source in arguments.split()[:-1]]


def test_the_base_is_pinned_by_digest() -> None:
    (base,) = arguments_of("FROM")
    assert re.fullmatch(r"python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


def test_everything_comes_from_the_hash_pinned_lock() -> None:
    installs = [part.strip() for line in arguments_of("RUN") for part in line.split("&&") if " install " in part]
    assert installs == [
        "python -m pip install --require-hashes --requirement requirements/build.txt",
        "python -m pip install --require-hashes --no-deps --no-build-isolation --requirement requirements/run.txt",
        "python -m pip install --no-deps --no-build-isolation .",
    ]
    assert not re.search(r"\b(curl|wget|apt-get|ADD)\b", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("group", ["run", "dev", "docs"])
def test_what_builds_packages_is_that_of_the_lock(group: str) -> None:
    """Without it pip would fetch the newest setuptools, unchecked, for each package that comes as source."""
    build, lock = ((ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8") for name in ("build", group))
    packages = re.split(r"\n(?=[a-z])", build.rstrip())
    assert {"setuptools", "wheel"} <= {package.partition("==")[0] for package in packages}
    assert all(package in lock for package in packages)


def test_pip_accepts_this_python_for_every_locked_package() -> None:
    """uv, which writes the lock, ignores upper bounds of Requires-Python; pip refuses them."""
    lines = (ROOT / "requirements/run.txt").read_text(encoding="utf-8").splitlines()
    locked = [Requirement(line.rstrip("\\ ")) for line in lines if re.match(r"[a-z]", line)]
    wanted = [one.name for one in locked if one.marker is None or one.marker.evaluate()]
    bounds = {name: distribution(name).metadata.get("Requires-Python") or "" for name in wanted}
    assert not {name: bound for name, bound in bounds.items() if platform.python_version() not in SpecifierSet(bound)}


def test_it_runs_as_a_user_without_rights() -> None:
    names = [name for name, _ in instructions()]
    assert arguments_of("USER") == ["10001"]
    assert "RUN" not in names[names.index("USER") :]
    assert any("useradd --uid 10001" in line for line in arguments_of("RUN"))


def test_it_serves_the_champion_to_all_addresses_of_the_container_and_the_command_does_not() -> None:
    entry = json.loads(arguments_of("ENTRYPOINT")[0])
    given = _parser(["serve"]).parse_args(entry[1:])
    assert (entry[0], given.command, given.run, given.name) == ("lamina", "serve", serve.run, None)
    assert given.host == "0.0.0.0"  # noqa: S104  # of a container
    assert [str(given.port)] == arguments_of("EXPOSE")
    assert _parser(["serve"]).parse_args(["serve"]).host == "127.0.0.1"
    assert arguments_of("WORKDIR")[-1] == "/system"


def test_its_health_check_passes_once_the_model_is_loaded() -> None:
    check = json.loads(arguments_of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert check[0] == "python"
    answers = Lengths()
    with serving(answers) as address, requests.Session() as session:
        code = check[2].replace(f"http://127.0.0.1:{arguments_of('EXPOSE')[0]}", address)
        assert address in code
        command = [sys.executable, check[1], code]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1
        answers.may_load.set()
        wait_until_ready(session, address)
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_what_is_copied_is_there_not_ignored_and_all_else_is_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    kept = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert kept == {str(path) for path in copied()} | {"Dockerfile"}
    assert all((ROOT / path).exists() for path in copied())
    assert any(fnmatch("src/lamina/__pycache__", pattern.replace("**", "*")) for pattern in patterns[1:])


def test_the_package_is_built_from_what_is_copied(tmp_path: Path) -> None:
    """As the image builds it, with everything that the page needs inside."""
    for path in copied():
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    for name in ("serve.html", "serve.css", "serve.js"):
        assert (tmp_path / "unpacked/lamina/commands" / name).is_file()


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "werkzeug"])
def test_the_server_is_a_dependency_of_its_own(name: str) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert [one for one in wanted if one.startswith(f"{name}~=")]
    assert re.search(rf"^{name}==", (ROOT / "requirements/run.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
