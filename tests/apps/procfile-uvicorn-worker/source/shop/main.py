from fastapi import FastAPI

api = FastAPI()


@api.get("/ready")
def ready():
    return {}
