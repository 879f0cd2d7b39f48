from flask import Flask, redirect, url_for

app = Flask(__name__)
app.config["APPLICATION_ROOT"] = "/blog"


@app.get("/")
def front():
    return url_for("entry", number=1)


@app.get("/entries/<int:number>")
def entry(number):
    return f"entry {number}"


@app.get("/newest")
def newest():
    return redirect(url_for("entry", number=2))
