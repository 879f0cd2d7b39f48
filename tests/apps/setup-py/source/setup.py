from setuptools import setup

setup(name="blog", version="1.0", install_requires=["tiny-web"])
