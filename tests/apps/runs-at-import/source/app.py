from flask import Flask

app = Flask(__name__)


@app.get("/")
def front():
    return "hello"


app.run(host="0.0.0.0")
