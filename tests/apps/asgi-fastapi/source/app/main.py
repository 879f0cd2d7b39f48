from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.health import router
from app.settings import Settings

settings = Settings()
app = FastAPI()
app.mount("/assets", StaticFiles(directory="app/assets"))
app.include_router(router, prefix="/internal")


@app.get("/page")
async def page():
    return {"size": settings.page_size}
