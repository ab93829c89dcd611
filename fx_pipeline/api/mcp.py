"""The API's tools for assistants: the Model Context Protocol over HTTP, at ``/-/mcp``.

Each tool is an operation of the API, with its words and its parameters, and runs as that does: by the canned
queries, for whoever asks. Every request stands alone, so that any worker can answer it.

This module costs a worker half a second and 30 MB: `views.mcp` loads it when an assistant first asks.
"""

import json
import logging
import re
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import urlencode

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.types import Receive, Scope, Send

from fx_pipeline.api.app import FxDatasette
from fx_pipeline.api.contract.openapi import parameters
from fx_pipeline.api.contract.operations import OPERATIONS, Operation
from fx_pipeline.api.contract.schemas import Schema, Stored, schemas
from fx_pipeline.api.endpoints import views
from fx_pipeline.api.endpoints.routes import find

# It tells of each request when it starts and when it ends.
logging.getLogger("mcp").setLevel(logging.WARNING)

TOOLS = {
    operation.name: operation
    for operation in OPERATIONS
    if operation.name in {"latest_rates", "rates_of_day", "timeseries", "convert", "fluctuation", "symbols"}
}
LONGEST_BODY = 65_536
"""Bytes of a request that are read."""
LONGEST_ANSWER = 100_000
"""Bytes that a tool answers: more would fill what an assistant can keep in mind."""

_DAY = re.compile("[0-9-]+")

INSTRUCTIONS = (
    "Daily rates of exchange, with history. `rates[code]` is how many units of that currency one unit of "
    "`base` buys. Currencies are codes of three letters (`symbols` lists them), dates are YYYY-MM-DD. Name "
    "the `symbols` that you need: without them you are given all. Let `convert` do the sums."
)


async def answer(datasette: FxDatasette, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request of the protocol."""
    manager = StreamableHTTPSessionManager(
        _server(datasette, scope.get("actor"), receive),
        json_response=True,
        stateless=True,
        max_request_body_size=LONGEST_BODY,
    )
    async with manager.run():
        await manager.handle_request(scope, receive, send)


def _server(datasette: FxDatasette, actor: dict[str, Any] | None, receive: Receive) -> Server[Any]:
    async def list_tools(context: Any, asked: PaginatedRequestParams | None) -> ListToolsResult:
        return _tools()

    async def call_tool(context: Any, asked: CallToolRequestParams) -> CallToolResult:
        return await _call(datasette, actor, asked.name, asked.arguments or {}, receive)

    return Server(
        "fx-pipeline",
        version=version("fx-pipeline"),
        title="Foreign-exchange rates",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _tools() -> ListToolsResult:
    return ListToolsResult(
        tools=[
            Tool(
                name=operation.name,
                title=operation.summary,
                description=f"{operation.summary}. {operation.description}",
                input_schema=_input_schema(operation),
                annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
            )
            for operation in TOOLS.values()
        ]
    )


async def _call(
    datasette: FxDatasette,
    actor: dict[str, Any] | None,
    name: str,
    arguments: Mapping[str, Any],
    receive: Receive,
) -> CallToolResult:
    operation = TOOLS.get(name)
    if operation is None:
        return _refusal(f"There is no tool {name!r}. There are: {', '.join(TOOLS)}.")
    sent = {name: _as_text(value) for name, value in arguments.items() if value is not None}
    if mistake := _mistake(operation, name, arguments, sent):
        return _refusal(mistake)
    path = operation.path
    query = {argument: text for argument, text in sent.items() if f"{{{argument}}}" not in path}
    for argument, text in sent.items():
        path = path.replace(f"{{{argument}}}", text)
    path = path.removeprefix("/rates/").removesuffix("/")
    reply = await views.reply(
        datasette, actor, partial(find, path), urlencode(query), asked=f"tool {name}", receive=receive
    )
    document = json.loads(reply.body)
    if reply.status != 200:
        return _refusal(document["message"])
    if len(reply.body) > LONGEST_ANSWER:
        return _refusal(
            f"That answer has {len(reply.body)} bytes; a tool answers at most {LONGEST_ANSWER}. Name the "
            "symbols that you need, or ask for fewer days."
        )
    return _result(reply.body.decode(), document)


def _mistake(
    operation: Operation, name: str, arguments: Mapping[str, Any], sent: Mapping[str, str]
) -> str | None:
    """What is wrong with the arguments as such; None where the operation itself is to judge them."""
    expected = _input_schema(operation)
    if unknown := [argument for argument in arguments if argument not in expected["properties"]]:
        has = ", ".join(expected["properties"]) or "none"
        return f"{name} has no argument {unknown[0]!r}. It has: {has}."
    if missing := [argument for argument in expected["required"] if argument not in arguments]:
        return f"{name} needs: {', '.join(missing)}."
    for argument, text in sent.items():
        # In the path, another text would be another operation.
        if f"{{{argument}}}" in operation.path and not _DAY.fullmatch(text):
            return f"{text!r} is not a date of the form YYYY-MM-DD."
    return None


def _input_schema(operation: Operation) -> Schema:
    # Without the codes and the days of this instance, which are long and would be read with every question.
    shapes, known = schemas(Stored()), parameters(Stored())
    asked = [known[name] for name in operation.essential]
    return {
        "type": "object",
        "properties": {
            parameter["name"]: {
                **_inlined(parameter["schema"], shapes),
                "description": parameter["description"],
            }
            for parameter in asked
        },
        "required": [parameter["name"] for parameter in asked if parameter.get("required")],
        "additionalProperties": False,
    }


def _inlined(schema: Any, shapes: Mapping[str, Schema]) -> Any:
    """The schema with each reference replaced by what it points at: the protocol knows no components."""
    if isinstance(schema, list):
        return [_inlined(part, shapes) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(shapes[schema["$ref"].rpartition("/")[2]], shapes)
    return {key: _inlined(value, shapes) for key, value in schema.items()}


def _as_text(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _result(text: str, document: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=document)


def _refusal(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
