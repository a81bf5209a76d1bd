"""An assistant with a memory, over the Model Context Protocol.

    python examples/agent_memory.py [STORE] [--address URL --model NAME]

The assistant starts `retrieval-store mcp STORE --write`. Its model uses the server's tools to
search earlier conversations and to take notes. --address: the URL of an API like OpenAI's, such as
Ollama's http://localhost:11434/v1; an API key is read from OPENAI_API_KEY. Without --address, a
simple function replaces the model: it stores every statement, and searches for every question.

Needs: pip install . ./integrations/agents
"""

import argparse
import asyncio
import json
import os
import sys
import urllib.request
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters

TASK = (
    "You have a memory. Search it before you answer, and keep what the user tells you of lasting "
    "worth by `add`. Answer in one or two sentences."
)
MOST_STEPS = 8  # greatest number of model calls for one answer


class Assistant:
    """Answers with a model and the tools of an MCP server."""

    def __init__(self, client: Client, tools: list[Any], address: str | None, model: str) -> None:
        self._client, self._tools = client, tools
        self._address, self._model = address, model
        self._said: list[dict[str, Any]] = [{"role": "system", "content": TASK}]

    async def answer(self, text: str) -> str:
        """The answer to a user's statement or question."""
        if self._address is None:
            return await self._stand_in(text)
        self._said.append({"role": "user", "content": text})
        for _ in range(MOST_STEPS):
            message = await asyncio.to_thread(self._ask_model)
            self._said.append(message)
            if not message.get("tool_calls"):
                return str(message["content"])
            for call in message["tool_calls"]:
                found = await self._call(
                    call["function"]["name"], json.loads(call["function"]["arguments"] or "{}")
                )
                self._said.append({"role": "tool", "tool_call_id": call["id"], "content": found})
        return "I can't find an end."

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        print(f"  [{name} {json.dumps(arguments, ensure_ascii=False)}]")
        found = await self._client.call_tool(name, arguments)
        return "\n".join(one.text for one in found.content if one.type == "text")

    def _ask_model(self) -> dict[str, Any]:
        functions = [
            {"name": one.name, "description": one.description, "parameters": one.input_schema}
            for one in self._tools
        ]
        body = {
            "model": self._model,
            "messages": self._said,
            "tools": [{"type": "function", "function": one} for one in functions],
        }
        key = os.environ.get("OPENAI_API_KEY", "none")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(
            f"{self._address}/chat/completions", json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            message: dict[str, Any] = json.load(answer)["choices"][0]["message"]
        return message

    async def _stand_in(self, text: str) -> str:
        if not text.endswith("?"):
            return await self._call("add", {"documents": [text]})
        return await self._call("search", {"text": text, "limit": 1})


async def main() -> None:
    """Talk until the end of the input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", default="./memory", help="a directory, made if needed")
    parser.add_argument("--address", help="of an API like OpenAI's")
    parser.add_argument("--model", default="llama3.2", help="its name there")
    given = parser.parse_args()
    command = ["-m", "retrieval_store", "mcp", given.store, "--write"]
    server = StdioServerParameters(command=sys.executable, args=command)
    async with Client(server) as client:
        tools = (await client.list_tools()).tools
        print(f"Memory: {given.store}; tools: {', '.join(one.name for one in tools)}")
        if given.address is None:
            print("There is no model: a stand-in keeps statements and searches for questions.")
        assistant = Assistant(client, tools, given.address, given.model)
        while True:
            text = await asyncio.to_thread(sys.stdin.readline)
            if not text:
                return
            print(f"> {text.strip()}")
            print(await assistant.answer(text.strip()))


if __name__ == "__main__":
    asyncio.run(main())
