"""Compile the modules that the processes of the image import, and no others.

The root file system of a container is read-only, so Python could not store what it compiles at each start.
All modules of all packages would be 126 MB; these are 48 MB, and 10 MB in the target `api`.
"""

import importlib
import pkgutil
import py_compile
import sys
from pathlib import Path

import fx_pipeline

OTHERS = (
    "celery.backends.redis",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "dagster._cli",
    "dagster._daemon.cli",
    "dagster._grpc.server",
    "dagster_celery.app",
    "dagster_celery.launcher",
    "dagster_postgres",
    "dagster_webserver.cli",
    "httptools",
    "kombu.transport.redis",
    "mcp.server",
    "psycopg2",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
)
"""Modules that are imported by name while a process runs."""

NOT_IMPORTED = ("fx_pipeline.__main__", "fx_pipeline.processes.celery_worker")
"""Modules that start something when they are imported."""

modules = [module.name for module in pkgutil.walk_packages(fx_pipeline.__path__, "fx_pipeline.")]
own = [name for name in modules if name not in NOT_IMPORTED]
for name in [*own, *OTHERS]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:  # the target `api` has no Dagster
        print(f"not compiled: {name} ({error})")

compiled = 0
for module in list(sys.modules.values()):
    file = getattr(module, "__file__", None)
    if file and file.endswith(".py") and Path(file).is_relative_to(sys.prefix):
        py_compile.compile(
            file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
        compiled += 1
print(f"Compiled {compiled} modules.")
if not Path(fx_pipeline.__file__).is_relative_to(sys.prefix):
    sys.exit(f"{fx_pipeline.__file__} was compiled, not the installed package.")
