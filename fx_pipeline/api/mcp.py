"""The API's tools for assistants: the Model Context Protocol over HTTP, at ``/-/mcp``.

Each tool is an operation of the API, with its descriptions, parameters and permissions. The protocol is used
without sessions, so that any worker can answer any request.

Importing this module takes half a second and 30 MB, so `views.mcp` does it at the first request.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

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

from fx_pipeline.api import views
from fx_pipeline.api.contract.schemas import schemas
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.operation import Operation, Schema, Stored
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import ApiError

LONGEST_BODY = 65_536
"""The longest request in bytes."""
LONGEST_ANSWER = 100_000
"""The longest result in bytes: more would fill an assistant's context."""

INSTRUCTIONS = (
    "Daily exchange rates, with history. `rates[code]` is how many units of that currency one unit of "
    "`base` buys. Currencies are three-letter codes (`symbols` lists them), dates are YYYY-MM-DD. Name the "
    "`symbols` that you need: the default is all. Let `convert` do the arithmetic."
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
    tools = {operation.name: operation for operation in datasette.operations if operation.is_tool}

    async def list_tools(context: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(operation) for operation in tools.values()])

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        operation = tools.get(params.name)
        if operation is None:
            return _refusal(f"There is no tool {params.name!r}. The tools are: {', '.join(tools)}.")
        return await _call(datasette, actor, operation, params.arguments or {}, receive)

    return Server(
        "fx-pipeline",
        version=version("fx-pipeline"),
        title="Foreign-exchange rates",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _tool(operation: Operation[Any]) -> Tool:
    return Tool(
        name=operation.name,
        title=operation.summary,
        description=f"{operation.summary}. {operation.description}",
        input_schema=_input_schema(operation),
        annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    )


async def _call(
    datasette: FxDatasette,
    actor: dict[str, Any] | None,
    operation: Operation[Any],
    arguments: Mapping[str, Any],
    receive: Receive,
) -> CallToolResult:
    if mistake := _mistake(operation, arguments):
        return _refusal(mistake)
    sent = {name: _as_text(value) for name, value in arguments.items() if value is not None}
    query = {name: [text] for name, text in sent.items() if name in operation.query_names}
    path = {name: text for name, text in sent.items() if name not in query}
    parameters = Parameters(query, datasette.clock())
    try:
        reply = await views.read(
            datasette, actor, operation, parameters, path, label=f"tool {operation.name}", receive=receive
        )
    except ApiError as error:
        return _refusal(error.info)
    document = json.loads(reply.body)
    if reply.status != 200:
        return _refusal(document["message"])
    if len(reply.body) > LONGEST_ANSWER:
        return _refusal(
            f"The result has {len(reply.body)} bytes, more than the limit of {LONGEST_ANSWER}. Name the "
            "symbols that you need, or request fewer days."
        )
    return _result(reply.body.decode(), document)


def _mistake(operation: Operation[Any], arguments: Mapping[str, Any]) -> str | None:
    """Return why the arguments are not those of the tool. None leaves their values to the operation."""
    expected = _input_schema(operation)
    if unknown := [argument for argument in arguments if argument not in expected["properties"]]:
        has = ", ".join(expected["properties"]) or "none"
        return f"{operation.name} has no argument {unknown[0]!r}. It has: {has}."
    if missing := [argument for argument in expected["required"] if arguments.get(argument) is None]:
        return f"{operation.name} needs: {', '.join(missing)}."
    return None


def _input_schema(operation: Operation[Any]) -> Schema:
    # Without this instance's codes and days, which are long and would be sent with every list of tools.
    shapes = schemas(Stored())
    return {
        "type": "object",
        "properties": {
            parameter.name: {**_inlined(parameter.schema, shapes), "description": parameter.description}
            for parameter in operation.essential
        },
        "required": [parameter.name for parameter in operation.essential if parameter.required],
        "additionalProperties": False,
    }


def _inlined(schema: Any, shapes: Mapping[str, Schema]) -> Any:
    """Return the schema with each reference replaced by its target: the protocol has no components."""
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
