import os

from celery import Celery

app = Celery("blog", broker=os.environ.get("REDIS_URL"))
app.conf.beat_schedule = {"nightly": {"task": "blog.tasks.clean", "schedule": 86400}}
