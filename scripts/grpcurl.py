"""Replaces grpcurl where it can't be installed: makes a call with the messages of qdrant-client.

    python scripts/grpcurl.py -plaintext [-H NAME:VALUE] [-d JSON] HOST:PORT SERVICE/METHOD

Qdrant's own tests of its gRPC interface start grpcurl in a container. `scripts/qdrant-suite` gives
them this program instead. Calls that only read descriptions of messages do nothing.
"""

import sys
from collections.abc import Sequence
from typing import Any

import grpc
import qdrant_client.grpc  # noqa: F401 (whose messages are found by their names)
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_health.v1 import health_pb2  # noqa: F401 (the same)

TIMEOUT = 60.0  # seconds
WITH_VALUE = ("-d", "-H", "-import-path", "-proto")


def call(host: str, method: str, sent: str, headers: Sequence[tuple[str, str]]) -> str:
    """The response to a call, as JSON."""
    service, name = method.split("/")
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    asked: Any = message_factory.GetMessageClass(found.input_type)
    answered: Any = message_factory.GetMessageClass(found.output_type)
    with grpc.insecure_channel(host) as channel:
        make = channel.unary_unary(
            f"/{service}/{name}", asked.SerializeToString, answered.FromString
        )
        answer = make(json_format.Parse(sent, asked()), metadata=headers, timeout=TIMEOUT)
    return json_format.MessageToJson(answer)


def main(words: list[str]) -> int:
    """Make the call. Returns 1 if it is refused, and writes the reason to standard error."""
    given, rest, at = [], [], iter(words)
    for word in at:
        if word in WITH_VALUE:
            given.append((word, next(at)))
        elif word != "-plaintext":
            rest.append(word)
    if "describe" in rest:
        return 0
    headers = [value.partition(":")[::2] for name, value in given if name == "-H"]
    sent = next((value for name, value in given if name == "-d"), "{}")
    try:
        print(call(rest[0], rest[1], sent, [(k.strip().lower(), v.strip()) for k, v in headers]))
    except grpc.RpcError as error:
        print(f"ERROR:\n  Code: {error.code().name}\n  Message: {error.details()}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
