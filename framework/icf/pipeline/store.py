"""Files at an address such as s3://bucket/runs: what machines share that have no common folder.

Addresses are pyarrow's (s3, gs, hdfs, abfs, file), and those of every fsspec package that is installed. Credentials
come from where the libraries look for them, such as AWS_ACCESS_KEY_ID or a role of the machine, never from the address.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from icf.errors import IcfError, one_line


class StoreError(IcfError):
    """A store can't be reached, or does not take what it is given."""


@dataclass(frozen=True)
class Store:
    """A folder at an address; names are relative to it, with slashes. Files are replaced whole."""

    address: str
    files: Any
    """A pyarrow.fs.FileSystem, whose root is the address."""
    folder: str = ""

    def below(self, name: str) -> Store:
        """Return the store of a folder in this one."""
        return Store(self.address, self.files, self._place(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._errors("write", name), self._create(name) as path, self.files.open_output_stream(path) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if there is none."""
        with self._errors("read", name):
            try:
                with self.files.open_input_stream(self._place(name)) as stream:
                    return bytes(stream.read())
            except FileNotFoundError:
                return None

    def upload(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the store, in pieces."""
        with self._errors("write", name), self._create(name) as path:
            fs.copy_files(str(source), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=self.files)

    def download(self, name: str, target: Path) -> bool:
        """Copy a file of the store to this machine, in pieces; return False if there is none."""
        place, local = self._place(name), fs.LocalFileSystem()
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._errors("read", name):
            try:
                fs.copy_files(place, str(target), source_filesystem=self.files, destination_filesystem=local)
            except FileNotFoundError:
                return False
        return True

    def list(self, name: str = "", *, recursive: bool = False) -> list[str]:
        """Return the names of files and folders in a folder, in order; none if there is no such folder."""
        with self._errors("read", name):
            selector = fs.FileSelector(self._place(name), allow_not_found=True, recursive=recursive)
            found = [info.path.strip("/") for info in self.files.get_file_info(selector)]
        return sorted(path.removeprefix(f"{self.folder}/") for path in found)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it is there."""
        path = self._place(name)
        with self._errors("remove", name), contextlib.suppress(FileNotFoundError):
            kind = self.files.get_file_info(path).type
            if kind == fs.FileType.Directory:
                self.files.delete_dir(path)
            elif kind == fs.FileType.File:
                self.files.delete_file(path)

    def _place(self, name: str) -> str:
        return "/".join(filter(None, [self.folder, name]))

    @contextlib.contextmanager
    def _create(self, name: str) -> Iterator[str]:
        """Yield a path to write to, which becomes that of the file; stores of objects need no such step."""
        path, base = self._place(name), self.files.base_fs
        if not isinstance(base, fs.S3FileSystem):  # which would make an object for each folder
            self.files.create_dir(path.rpartition("/")[0], recursive=True)
        if not isinstance(base, fs.LocalFileSystem):
            yield path
            return
        temporary = f"{path}.{secrets.token_hex(4)}.tmp"
        yield temporary
        self.files.move(temporary, path)

    @contextlib.contextmanager
    def _errors(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"can't {what} {self._place(name)} at {self.address}: {one_line(error)[:500]}; look at the address in"
                " compute.storage, and at the credentials, which come from the environment of the machine"
            ) from error


def is_address(storage: str | None) -> bool:
    """Tell whether compute.storage is an address, and no folder."""
    return "://" in (storage or "")


@cache
def open_store(address: str) -> Store:
    """Return the store at an address, one for the process: every fold asks for it, and S3 is asked for its region.

    Raises:
        StoreError: no library knows such an address, or it can't be reached.
    """
    try:
        try:
            files, root = fs.FileSystem.from_uri(address)
        except ValueError:  # pyarrow knows no such scheme
            from fsspec.core import url_to_fs

            found, root = url_to_fs(address)
            files = fs.PyFileSystem(fs.FSSpecHandler(found))
    except (OSError, ValueError, ImportError) as error:
        scheme = urlsplit(address).scheme
        raise StoreError(
            f"compute.storage = {address!r} can't be used: {one_line(error)[:500]}; addresses are s3://, gs://, hdfs://,"
            f" abfs:// and file://, and others with their fsspec package (pip install the one for {scheme}://)"
        ) from error
    return Store(address, fs.SubTreeFileSystem(root, files))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
