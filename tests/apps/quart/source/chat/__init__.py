from quart import Quart, websocket


def create_app():
    app = Quart(__name__)

    @app.get("/")
    async def front():
        return "hello"

    @app.websocket("/echo")
    async def echo():
        while True:
            await websocket.send(await websocket.receive())

    return app
