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
        # Import this one package without changing sys.path for all modules
        spec = importlib.machinery.PathFinder.find_spec('qemu', [str(folder)])
        assert spec
        sys.modules['qemu'] = importlib.util.module_from_spec(spec)
    return importlib.import_module('qemu.qmp')
