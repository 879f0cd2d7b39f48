from flask import Flask


def main():
    app = Flask(__name__)
    app.run(port=8000)


if __name__ == "__main__":
    main()
