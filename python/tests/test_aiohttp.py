"""aiohttp, server and client, on libloop's event loop. Debian: python3-aiohttp."""

import asyncio
import hashlib
import os
import sys
import unittest

import libloop

try:
    import aiohttp
    from aiohttp import web
except ImportError:
    print("aiohttp is not installed (Debian: python3-aiohttp)")
    sys.exit(77)  # to CTest: skipped


class AiohttpTest(unittest.TestCase):
    """A server and a client in one loop."""

    def test_requests(self):
        libloop.run(self.requests())

    async def requests(self):
        app = web.Application(client_max_size=10_000_000)
        app.router.add_get("/hello/{name}", self.hello)
        app.router.add_post("/digest", self.digest)
        app.router.add_get("/socket", self.socket)
        app.router.add_static("/files", os.path.dirname(__file__))
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = site._server.sockets[0].getsockname()
        try:
            async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
                await asyncio.gather(*[self.say_hello(session, number) for number in range(100)])
                await self.send_much(session)
                await self.get_file(session)
                await self.talk(session)
        finally:
            await runner.cleanup()

    async def hello(self, request):
        return web.json_response({"hello": request.match_info["name"]})

    async def digest(self, request):
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def socket(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    async def say_hello(self, session, number):
        async with session.get(f"/hello/{number}") as response:
            self.assertEqual(await response.json(), {"hello": str(number)})

    async def send_much(self, session):
        data = os.urandom(5_000_000)
        async with session.post("/digest", data=data) as response:
            self.assertEqual(await response.text(), hashlib.sha256(data).hexdigest())

    async def get_file(self, session):
        async with session.get("/files/" + os.path.basename(__file__)) as response:
            with open(__file__, "rb") as file:
                self.assertEqual(await response.read(), file.read())

    async def talk(self, session):
        async with session.ws_connect("/socket") as socket:
            for text in ("abc", "x" * 100_000):
                await socket.send_str(text)
                self.assertEqual((await socket.receive()).data, text[::-1])


if __name__ == "__main__":
    unittest.main()
