import os

from celery import Celery

app = Celery("blog", broker=os.environ["CELERY_BROKER_URL"])
