"""Finds the operation of a path."""

import re
from collections.abc import Iterable
from typing import Any

from fx_pipeline.api.endpoints.operation import Operation
from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.errors import INVALID_API_FUNCTION, ApiError

_PARAMETER = re.compile(r"\{(\w+)\}")


class Routes:
    """The paths under ``/rates/``, made from the paths of the operations.

    If several match, one without parameters wins; otherwise, the one with the most letters outside its
    parameters.
    """

    def __init__(self, operations: Iterable[Operation[Any]]) -> None:
        routed = (one for one in operations if one.is_about_rates and not one.is_page)
        closest_first = sorted(routed, key=lambda one: ("{" in one.path, -len(_PARAMETER.sub("", one.path))))
        self._routes = [(_pattern(one.path), one) for one in closest_first]

    def find(self, path: str) -> tuple[Operation[Any], dict[str, str]]:
        """Return the operation of a path under ``/rates/``, and the values of the parameters in the path.

        Raise ApiError if there is none.
        """
        for pattern, operation in self._routes:
            if match := pattern.fullmatch(path):
                return operation, match.groupdict()
        info = f"There is no endpoint /rates/{quoted(path)[1:-1]}. See /rates/ for the list."
        raise ApiError(INVALID_API_FUNCTION, info)


def _pattern(path: str) -> re.Pattern[str]:
    """Return the pattern of a path below ``/rates/``. Its parameters are dates, or attempts at dates."""
    template = path.removeprefix("/rates/").removesuffix("/")
    parts = _PARAMETER.split(template)
    literals, names = map(re.escape, parts[::2]), parts[1::2]
    groups = (f"(?P<{name}>[0-9.-]*?)" for name in names)
    return re.compile("".join(part for pair in zip(literals, [*groups, ""], strict=True) for part in pair))
