"""An echo function for functions-framework."""

import flask
import functions_framework


@functions_framework.http
def echo(request: flask.Request) -> flask.Response:
    return flask.jsonify(request.get_json()["data"])
