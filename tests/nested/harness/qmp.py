# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's own Python library, from the source of the QEMU that was built."""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_qmp(folder: Path) -> ModuleType:
    """Import qemu.qmp and qemu.qmp.legacy from the folder python of a QEMU.

    The folder holds more than this package: it is not put into sys.path.
    """
    if 'qemu' not in sys.modules:
        spec = importlib.machinery.ModuleSpec('qemu', None, is_package=True)
        spec.submodule_search_locations = [str(folder / 'qemu')]
        sys.modules['qemu'] = importlib.util.module_from_spec(spec)
    library = importlib.import_module('qemu.qmp')
    importlib.import_module('qemu.qmp.legacy')
    return library
