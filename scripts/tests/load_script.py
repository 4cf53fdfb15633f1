# SPDX-License-Identifier: GPL-2.0-or-later

"""Import scripts, whose names are no names of modules."""

import importlib.machinery
import importlib.util
import sys
from typing import Any
from unittest import mock

from lib.version import ROOT


def load_script(name: str) -> Any:
    """Import a script of the folder scripts."""
    module = f'{name.replace("-", "_")}_script'
    loader = importlib.machinery.SourceFileLoader(
        module, str(ROOT / 'scripts' / name))
    spec = importlib.util.spec_from_loader(module, loader)
    assert spec
    script = importlib.util.module_from_spec(spec)
    with mock.patch.object(sys, 'dont_write_bytecode', True):
        loader.exec_module(script)
    return script
