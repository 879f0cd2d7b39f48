from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="shop_")
    secret_key: str
    page_size: int = 20
    payment_api_key: str
