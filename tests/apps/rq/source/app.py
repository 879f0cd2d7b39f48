import os

import redis
from flask import Flask
from rq import Queue

from jobs import double

app = Flask(__name__)
queue = Queue(connection=redis.Redis.from_url(os.environ["REDIS_URL"]))


@app.get("/")
def front():
    return "hello"


@app.post("/double/<int:number>")
def ask(number):
    return queue.enqueue(double, number).id, 202


@app.get("/jobs/<name>")
def result(name):
    return {"result": queue.fetch_job(name).return_value()}
