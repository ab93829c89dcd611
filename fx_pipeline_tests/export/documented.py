"""The nginx of docs/operations/static-export.md, which serves an export."""

import os
import pwd
import re
import shutil
from pathlib import Path

from fx_pipeline.settings import PROJECT

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
"""The program, None if it is not installed."""

_DOCUMENT = PROJECT / "docs" / "operations" / "static-export.md"
_BUFFERED = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")


def nginx_over(site: Path, folder: Path, port: int) -> list[str]:
    """Write nginx's configuration into a folder, and return the command that serves the site at a port."""
    [server] = re.findall(r"```nginx\n(.*?)```", _DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    for shown, used in (("/srv/rates", str(site)), ("listen 8080;", f"listen 127.0.0.1:{port};")):
        if shown not in server:
            raise ValueError(f"{_DOCUMENT.name} does not show {shown}")
        server = server.replace(shown, used)
    folder.mkdir()
    user = pwd.getpwuid(os.geteuid()).pw_name  # so that the processes of root's nginx can read the site
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in _BUFFERED)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"user {user}; daemon off; worker_processes auto; pid {folder}/nginx.pid;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n{server}}}\n",
        encoding="utf-8",
    )
    return [str(NGINX), "-p", str(folder), "-e", f"{folder}/errors", "-c", str(configuration)]
