from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app)


@app.get("/")
def front():
    return "hello"


@socketio.on("say")
def say(text):
    return text.upper()


if __name__ == "__main__":
    socketio.run(app)
