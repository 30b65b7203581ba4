"""A WebSocket echo that shares no code with the product: prints its port, then sends back every message."""

import asyncio

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    # Nothing is sent of its own accord, so that the bytes of a connection follow from what its client sent.
    settings = {"compression": None, "max_size": None, "ping_interval": None}
    async with serve(echo, "127.0.0.1", 0, **settings) as server:
        print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.wait_for(server.serve_forever(), 600)


asyncio.run(main())
