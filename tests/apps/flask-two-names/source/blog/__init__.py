from flask import Flask


def create_app(config_class=None):
    app = Flask(__name__)

    @app.get("/")
    def front():
        return "hello"

    return app


db = None
