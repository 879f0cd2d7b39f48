import subprocess

from flask import Flask

app = Flask(__name__)


def mail(text):
    subprocess.run(["/usr/sbin/sendmail", "-t"], input=text, text=True, check=True)
