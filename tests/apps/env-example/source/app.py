import os

from flask import Flask

app = Flask(__name__)
app.secret_key = os.environ["SECRET_KEY"]
app.config["MAIL_SERVER"] = os.environ["MAIL_SERVER"]
app.config["MAIL_PASSWORD"] = os.environ["MAIL_PASSWORD"]
app.config["STRIPE"] = os.environ.get("STRIPE_API_KEY")
app.config["PAGE_SIZE"] = int(os.environ["PAGE_SIZE"])
app.config["SITE_URL"] = os.environ["SITE_URL"]
DSN = os.environ.get("SENTRY_DSN")
REGION = os.environ["REGION"]
