"""Python's `websockets` as a client: /ws, the raw socket /ch/NAME, history and resuming.

python_websockets.py HOST:PORT check         tests by itself; exit code 0 if all of it held
python_websockets.py HOST:PORT check-http    the same but for lines, which an HTTP proxy in between does not carry
python_websockets.py HOST:PORT join CHANNEL  says `ready`, publishes each line of its input, writes `heard TEXT`

Deliberately absent: a wait of a fixed length. Every wait is for a message, with a limit.
"""

import asyncio
import json
import os
import ssl
import sys

from websockets.asyncio.client import connect as connect_to
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

PATIENCE_SECONDS = 20

# Whoever names a certificate to trust wants TLS.
CA = os.environ.get("CLIENTS_CA")
TLS = ssl.create_default_context(cafile=CA) if CA else None
SCHEME = "wss" if CA else "ws"


def connect(url, **options):
    return connect_to(url, ssl=TLS, **options)


async def receive(socket):
    return await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)


async def receive_json(socket):
    frame = await receive(socket)
    assert isinstance(frame, str), f"/ws sends text frames, this is {frame!r}"
    return json.loads(frame)


async def ask(socket, request):
    """Sends a request and returns its answer, which may be overtaken by pushes: those are returned beside it."""
    await socket.send(json.dumps(request))
    pushes = []
    while True:
        message = await receive_json(socket)
        if message.get("ok") == request["id"] or message.get("error") == request["id"]:
            return message, pushes
        pushes.append(message)


async def check_protocol(server):
    """What one connection publishes on /ws, another hears, in order and with its kind."""
    async with connect(f"{SCHEME}://{server}/ws") as hearer, connect(f"{SCHEME}://{server}/ws") as publisher:
        hello, _ = await ask(publisher, {"hello": 1, "id": 0})
        assert hello["server"].startswith("sockeye/"), hello
        subscribed, _ = await ask(hearer, {"sub": "clients/python", "id": "s"})
        assert "at" in subscribed, subscribed
        payloads = ["text", "줄\n바꿈", {"text": "hi", "n": [1, 2.5, None]}, 7]
        for number, data in enumerate(payloads):
            answer, _ = await ask(publisher, {"pub": "clients/python", "data": data, "id": number})
            assert answer["ack"] == "accepted", answer
            push = await receive_json(hearer)
            assert (push["ch"], push["at"], push["data"]) == ("clients/python", answer["at"], data), push
        answer, _ = await ask(publisher, {"pub": "clients/python", "b64": "AP8K", "id": 9})
        push = await receive_json(hearer)
        assert push["b64"] == "AP8K" and push["at"] == answer["at"], push


async def check_resuming(server):
    """Who was away reads on from the position of the last message heard."""
    async with connect(f"{SCHEME}://{server}/ws") as publisher:
        first, _ = await ask(publisher, {"pub": "clients/python/away", "data": "1", "id": 1})
        for text in ("2", "3"):
            await ask(publisher, {"pub": "clients/python/away", "data": text, "id": text})
        async with connect(f"{SCHEME}://{server}/ws") as returned:
            request = {"sub": "clients/python/away", "since": first["at"], "id": 1}
            answer, early = await ask(returned, request)
            assert answer["recovered"] is True and early == [], (answer, early)
            heard = [(await receive_json(returned))["data"] for _ in range(2)]
            assert heard == ["2", "3"], heard
            past, _ = await ask(returned, {"past": "clients/python/away", "last": 2, "id": 2})
            assert [message["data"] for message in past["messages"]] == ["2", "3"], past
            assert past["more"] is False, past


async def check_raw(server):
    """On /ch/NAME a frame is a message: no envelope, and text stays text and bytes stay bytes."""
    url = f"{SCHEME}://{server}/ch/clients/python/raw"
    async with connect(url) as one, connect(f"{url}?pub=0") as other:
        for payload in ("text", b"\x00\xff\n", '{"a":1}'):
            await one.send(payload)
            assert await receive(other) == payload
            assert await receive(one) == payload


async def check_compression(server):
    """Messages are compressed, both ways, with a window of the library's own choice or a smaller one."""
    text = "the same again and " * 1_000
    small = ClientPerMessageDeflateFactory(server_max_window_bits=12, client_max_window_bits=12)
    for bits, options in ((15, {}), (12, {"extensions": [small]})):
        async with connect(f"{SCHEME}://{server}/echo", **options) as socket:
            (extension,) = socket.protocol.extensions
            assert extension.remote_no_context_takeover, extension
            assert extension.remote_max_window_bits == bits, extension
            for payload in (text, text.encode(), "short"):
                await socket.send(payload)
                assert await receive(socket) == payload
    url = f"{SCHEME}://{server}/ch/clients/python/compressed"
    async with connect(url) as one, connect(f"{url}?pub=0", compression=None) as other:
        await one.send(text)
        assert await receive(other) == text
        assert await receive(one) == text


async def check_lines(server):
    """The same grammar as lines over TCP, from Python without any library."""
    host, port = server.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=TLS)
    async with connect(f"{SCHEME}://{server}/ch/clients/python/lines?pub=0") as hearer:
        writer.write(b'{"pub":"clients/python/lines","data":"from a line","id":1}\n')
        answer = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS))
        assert answer["ok"] == 1, answer
        assert await receive(hearer) == "from a line"
    writer.close()
    await writer.wait_closed()


async def check_foreign_origin(server):
    """A page from elsewhere is refused before anything happens."""
    try:
        async with connect(f"{SCHEME}://{server}/ws", origin="http://elsewhere.example"):
            raise AssertionError("a foreign Origin was let in")
    except InvalidStatus as refusal:
        assert refusal.response.status_code == 403, refusal


async def join(server, channel):
    """Hears and publishes on the raw socket until the input ends."""
    async with connect(f"{SCHEME}://{server}/ch/{channel}") as socket:
        print("ready", flush=True)

        async def hear():
            async for frame in socket:
                print("heard", frame, flush=True)

        hearing = asyncio.create_task(hear())
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await socket.send(line.rstrip("\n"))
        hearing.cancel()


async def main(arguments):
    match arguments:
        case [server, "check" | "check-http" as which]:
            checks = (check_protocol, check_resuming, check_raw, check_compression, check_foreign_origin)
            # An HTTP proxy between the two would take lines for a bad request.
            lines = (check_lines,) if which == "check" else ()
            for check in (*checks, *lines):
                await check(server)
                print("passed:", check.__doc__.splitlines()[0])
        case [server, "join", channel]:
            try:
                await join(server, channel)
            except ConnectionClosed as closed:
                sys.exit(f"the server closed: {closed}")
        case _:
            sys.exit(__doc__)


asyncio.run(main(sys.argv[1:]))
