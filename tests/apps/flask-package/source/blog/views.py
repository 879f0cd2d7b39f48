from blog import app


@app.route("/")
def front():
    return "hello"
