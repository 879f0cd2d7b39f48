import os

import redis
from flask import Flask
from rq import Queue

app = Flask(__name__)
queue = Queue(connection=redis.Redis.from_url(os.environ["REDIS_URL"]))
