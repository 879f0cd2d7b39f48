from fastapi import APIRouter

router = APIRouter()


@router.get("/healthz")
def healthy():
    return {}
