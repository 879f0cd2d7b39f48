from quart import Quart


def create_app():
    app = Quart(__name__)

    @app.get("/")
    async def front():
        return "hello"

    return app
