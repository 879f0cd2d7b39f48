from blog.application import build as create

application = create()
