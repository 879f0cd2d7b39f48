FLASK_APP=serve_blog:make()
FLASK_DEBUG=1
