"""Python's websockets at the other end of `sockeye connect` and `sockeye listen`.

`serve` prints its address and sends everything back until its input ends; `call URL` says messages of every shape to a
server that does, and checks what comes back.
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

MESSAGES = ["", "text", "two\nlines and a \0", "ü" * 1000, b"", b"\0", b"\n\xff\0", os.urandom(16 << 20), "x" * (1 << 20)]


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def be_server():
    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(f"ws://127.0.0.1:{port}/", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def be_client(url):
    async with connect(url, max_size=None) as socket:
        for message in MESSAGES:
            await socket.send(message)
            answer = await socket.recv()
            assert type(answer) is type(message) and answer == message, f"{len(message)} bytes came back otherwise"
        await (await socket.ping())
        print("extensions:", ", ".join(extension.name for extension in socket.protocol.extensions), flush=True)
        await socket.close(4000, "that was all")
        assert socket.close_code == 4000, socket.close_code


match sys.argv[1:]:
    case ["serve"]:
        asyncio.run(be_server())
    case ["call", url]:
        asyncio.run(be_client(url))
    case _:
        sys.exit("toolkit_peer.py serve | call URL")
