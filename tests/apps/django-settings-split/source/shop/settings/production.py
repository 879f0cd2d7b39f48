import os

from .base import *

EMAIL_HOST_PASSWORD = os.environ["EMAIL_HOST_PASSWORD"]
