# SPDX-License-Identifier: GPL-2.0-or-later

"""Create initial RAM file systems for the machines that run Linux."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness import NESTED

# Firmware blobs that QEMU loads for the machine types used here, and the
# folders of distributions for them
BLOBS = ('kvmvapic.bin', 'linuxboot_dma.bin')
BLOB_DIRS = (Path('/usr/share/qemu'), Path('/usr/share/seabios'))

INIT = NESTED / 'init'

# Number of images to keep in the cache, for runs with alternating QEMUs
_KEPT_IMAGES = 4

_MODE_DIR = 0o040755
_MODE_FILE = 0o100755


class MissingError(Exception):
    """A file is missing; the message explains how to get it."""


def find_blob(name: str) -> Path:
    for folder in BLOB_DIRS:
        if (folder / name).is_file():
            return folder / name
    raise MissingError(f'{name} is not in {" or ".join(map(str, BLOB_DIRS))}: '
                       'install the packages qemu-system-data and seabios')


def find_busybox() -> Path:
    path = shutil.which('busybox')
    if path is None:
        raise MissingError('there is no busybox: install the package '
                           'busybox-static')
    # Dynamically linked programs contain the name of the dynamic loader
    if b'/ld-linux' in Path(path).read_bytes():
        raise MissingError(f'{path} is not statically linked: install the '
                           'package busybox-static')
    return Path(path)


class Archive:
    """A cpio archive in the format of the kernel's initramfs."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._inode = 0
        self._dirs: set[str] = set()

    def _append(self, data: bytes) -> None:
        padding = -(self._size + len(data)) % 4
        self._parts.append(data + bytes(padding))
        self._size += len(data) + padding

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        encoded = name.encode() + b'\0'
        # inode, mode, owner, group, links, mtime, size, device, rdevice,
        # name size, checksum
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                  len(encoded), 0)
        self._append(b'070701' + b''.join(b'%08X' % f for f in fields) +
                     encoded)
        self._append(data)

    def add_dir(self, name: str) -> None:
        if name and name not in self._dirs:
            self.add_dir(os.path.dirname(name))
            self._dirs.add(name)
            self._entry(name, _MODE_DIR, b'')

    def add_file(self, name: str, data: bytes) -> None:
        name = name.lstrip('/')
        self.add_dir(os.path.dirname(name))
        self._entry(name, _MODE_FILE, data)

    def finish(self) -> bytes:
        self._entry('TRAILER!!!', 0, b'')
        return b''.join(self._parts)


def _libraries(binary: Path) -> list[Path]:
    result = subprocess.run(['ldd', binary], capture_output=True, text=True,
                            check=False)
    if result.returncode:
        raise MissingError(f'{binary}: ldd cannot find its libraries: '
                           f'{result.stderr.strip()}')
    missing = re.findall(r'(\S+) => not found', result.stdout)
    if missing:
        raise MissingError(f'{binary}: libraries are missing: '
                           f'{", ".join(missing)}')
    return [Path(path) for path in re.findall(r'(/\S+)', result.stdout)]


def program_files(path: Path) -> dict[str, bytes]:
    """Return the files of a program in /bin, with its libraries."""
    files = {str(library): library.read_bytes()
             for library in _libraries(path)}
    return {f'/bin/{path.name}': path.read_bytes(), **files}


def find_program(name: str, package: str) -> Path:
    """Return the path of a program of this machine."""
    path = shutil.which(name, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin')
    if path is None:
        raise MissingError(f'there is no {name}: install the package '
                           f'{package}')
    return Path(path)


def find_tool(name: str, package: str) -> dict[str, bytes]:
    """Return the files of a program of this machine, with its libraries."""
    return program_files(find_program(name, package))


def _stripped(binary: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'stripped'
        subprocess.run(['strip', '-o', out, binary], check=True)
        return out.read_bytes()


def _key(paths: Iterable[Path]) -> str:
    key = hashlib.sha256(Path(__file__).read_bytes())
    for path in paths:
        key.update(str(path).encode() + b'\0')
        key.update(hashlib.sha256(path.read_bytes()).digest())
    return key.hexdigest()[:16]


def _prune(folder: Path, prefix: str) -> None:
    images = sorted(folder.glob(f'{prefix}-*.cpio'),
                    key=lambda p: p.stat().st_mtime)
    for path in images[:-_KEPT_IMAGES]:
        path.unlink(missing_ok=True)


def _cached_image(cache: Path, prefix: str, paths: Sequence[Path],
                  add_files: Callable[[Archive], None]) -> Path:
    """Return an image with init, busybox, and the files that are added.

    It is created if the folder @cache does not have it.

    @paths: the contents of these files decide whether an image can be reused
    """
    busybox = find_busybox()
    image = cache / f'{prefix}-{_key([INIT, busybox, *paths])}.cpio'
    if image.exists():
        image.touch()
        return image

    archive = Archive()
    for folder in ('bin', 'dev', 'proc', 'run', 'sys', 'tmp'):
        archive.add_dir(folder)
    archive.add_file('init', INIT.read_bytes())
    archive.add_file('bin/busybox', busybox.read_bytes())
    add_files(archive)

    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
        file.write(archive.finish())
    os.rename(file.name, image)
    _prune(cache, prefix)
    return image


def base_image(qemu: Path, cache: Path) -> Path:
    """Return the image with what all level 1 machines have in common."""
    blobs = [find_blob(name) for name in BLOBS]
    libraries = _libraries(qemu)

    def add_files(archive: Archive) -> None:
        archive.add_file('bin/qemu', _stripped(qemu))
        for path in libraries:
            archive.add_file(str(path), path.read_bytes())
        for path in blobs:
            archive.add_file(f'firmware/{path.name}', path.read_bytes())
    return _cached_image(cache, 'l1', [qemu, *blobs, *libraries], add_files)


def guest_image(tools: Mapping[str, str], cache: Path) -> Path:
    """Return the image for Linux guests, with programs of this machine.

    @tools: the programs, and the packages that have them
    """
    programs = [find_program(name, package)
                for name, package in tools.items()]
    libraries = {library for path in programs for library in _libraries(path)}

    def add_files(archive: Archive) -> None:
        for path in programs:
            archive.add_file(f'bin/{path.name}', path.read_bytes())
        for path in sorted(libraries):
            archive.add_file(str(path), path.read_bytes())
    return _cached_image(cache, 'guest', [*programs, *sorted(libraries)],
                         add_files)


def run_image(base: Path, files: dict[str, bytes], out: Path) -> None:
    """Write the image @base to @out, with @files added."""
    archive = Archive()
    for name, data in files.items():
        archive.add_file(name, data)
    with out.open('wb') as file:
        with base.open('rb') as source:
            shutil.copyfileobj(source, file)
        # The kernel accepts archives concatenated at multiples of 4 bytes
        file.write(archive.finish())
