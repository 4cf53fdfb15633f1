# SPDX-License-Identifier: GPL-2.0-or-later

"""QEMU's own Python library for QMP, from a QEMU source tree."""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_qmp(folder: Path) -> ModuleType:
    """Import qemu.qmp from the folder python/ of a QEMU tree.

    If the folder has no such package, the installed one is imported. Raises
    ImportError if there is neither.
    """
    if 'qemu' not in sys.modules and (folder / 'qemu/qmp').is_dir():
        # The package qemu is a namespace package: it has a path, but no file
        spec = importlib.machinery.ModuleSpec('qemu', None, is_package=True)
        spec.submodule_search_locations = [str(folder / 'qemu')]
        sys.modules['qemu'] = importlib.util.module_from_spec(spec)
    return importlib.import_module('qemu.qmp')
