"""fastmcp as a client. Standard input has the plan, standard output what was seen."""

import asyncio
import json
import os
import sys

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport

plan = json.load(sys.stdin)
seen = {"forms": 0, "results": {}}


async def elicited(message, response_type, params, context):
    seen["forms"] += 1
    if plan["declined"] in message:
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content={"decision": "once"})


def server():
    if "url" not in plan:
        return StdioTransport(plan["command"], plan["args"], env=plan["env"], keep_alive=False)
    return StreamableHttpTransport(plan["url"], auth=plan["token"])


async def until(path):
    while not (os.path.exists(path) and open(path).read().strip()):
        await asyncio.sleep(0.02)


async def call(client, one):
    def ask(tool, arguments):
        return client.call_tool(tool, arguments, timeout=one["limit"], raise_on_error=False)

    calling = asyncio.create_task(ask(one["tool"], one["arguments"]))
    if one["cancelWhen"]:
        await until(one["cancelWhen"])
        calling.cancel()
    result = await calling
    while one["fetch"] and (result.structured_content or {}).get("task"):
        result = await ask("task_result", {"task": result.structured_content["task"], "wait_secs": 2})
    text = "\n".join(getattr(block, "text", "") for block in result.content)
    return {"error": bool(result.is_error), "text": text}


async def kept(client, one):
    try:
        seen["results"][one["key"]] = await call(client, one)
    except (asyncio.CancelledError, Exception) as error:
        seen["results"][one["key"]] = {"failed": repr(error)}


async def main():
    for elicits in (True, False):
        async with Client(server(), elicitation_handler=elicited if elicits else None) as client:
            seen["tools"] = [tool.name for tool in await client.list_tools()]
            calls = [one for one in plan["calls"] if one["elicits"] == elicits]
            await asyncio.gather(*(kept(client, one) for one in calls))
    print(json.dumps(seen))


asyncio.run(main())
