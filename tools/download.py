"""Download of the archive of a corpus: continued where it stopped, checked, and unpacked whole."""

from wedefense_lite import cli

import logging
from pathlib import Path

from wedefense_lite.downloads import check, fetch, unpack
from wedefense_lite.files import InputError, file_path


def download(
    url: str,
    folder: str,
    licence: str,
    size: int = 0,
    md5: str | None = None,
    sha256: str | None = None,
):
    """Fetch an archive and unpack one folder of it; a folder that exists is left as it is.

    Args:
        url: address of a .zip or a .tar.gz.
        folder: the folder to make. DB/LA is made from LA/ in the archive, which stays as DB/LA.zip.
        licence: licence of the corpus, for the log.
        size: published size of the archive in bytes; 0 for any.
        md5: published MD5 sum of the archive, in hexadecimal.
        sha256: published SHA-256 sum of the archive, in hexadecimal.
    """
    target = Path(folder)
    logging.info("%s: licence %s", target, licence)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: a file, expected the folder of the corpus")
    if target.exists():
        logging.info("%s is there already", target)
        return
    file_path(target).parent.mkdir(parents=True, exist_ok=True)
    # The address may go on behind the name, as in x.tar.gz?download=1.
    ending = ".tar.gz" if ".tar.gz" in url else ".zip"
    archive = target.with_name(target.name + ending)
    part = archive.with_name(f"{archive.name}.part")
    if archive.exists():
        if not archive.is_file():
            raise InputError(f"{archive}: a folder or a device, expected an archive: remove it")
        check(archive, size, md5=md5, sha256=sha256)
        unpack(archive, target)
    else:
        fetch(url, part, size)
        check(part, size, md5=md5, sha256=sha256)
        # What can't be unpacked does not get the name of the archive.
        unpack(part, target)
        part.rename(archive)
    logging.info("unpacked %s; %s is not needed any more", target, archive)


if __name__ == "__main__":
    cli.run(download)
