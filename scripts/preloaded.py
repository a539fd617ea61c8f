"""What tests import, and nothing of gatepost: imported once, in the process whose forks run tests of one module.

All of them need it, or many do. `own_coverage` and `mutants` have it imported by their fork server. Objects that are
there already are frozen: pytest collects garbage several times in each fork, and would look at all of them.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module

from _pytest.config import default_plugins
from hypothesis.internal.constants_ast import is_local_module_file

for _name in (
    *(f"_pytest.{plugin}" for plugin in default_plugins),
    *("_hypothesis_pytestplugin", "pytest_timeout", "coverage", "pytest", "_pytest.assertion.rewrite"),
    *("hypothesis.strategies", "tomllib", "asyncio", "apsw", "idna", "msgspec.json", "msgspec.structs"),
    *("cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ed25519"),
    *("pydantic.json_schema", "pydantic.plugin._loader", "pydantic._internal._generate_schema"),
    *("pydantic.main", "pydantic.types", "pydantic.dataclasses", "pydantic.functional_serializers"),
    *("cryptography.hazmat.primitives.serialization", "cryptography.hazmat.primitives.ciphers.algorithms"),
    *("pdb", "readline", "rlcompleter", "secrets", "ctypes", "hypothesis.internal.conjecture.optimiser"),
):
    import_module(_name)

for _module in list(sys.modules.values()):  # hypothesis asks of each whether it is ours, and remembers the answer
    if _file := getattr(_module, "__file__", None):
        is_local_module_file(_file)
gc.collect()
gc.freeze()
