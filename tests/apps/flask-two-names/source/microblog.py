from blog import create_app, db

app = create_app()
