import subprocess

from flask import Flask, request

app = Flask(__name__)


def mail(text):
    subprocess.run(["/usr/sbin/sendmail", "-t"], input=text, text=True, check=True)


@app.get("/")
def front():
    return "hello"


@app.post("/")
def send():
    mail(f"To: {request.form['to']}\nSubject: from the app\n\n{request.form['text']}\n")
    return "", 201
