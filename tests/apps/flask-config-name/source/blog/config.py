class Config:
    DEBUG = False


class Development(Config):
    DEBUG = True


config = {"development": Development, "production": Config}
