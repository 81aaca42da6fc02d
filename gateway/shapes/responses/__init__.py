"""POST /v1/responses: OpenAI's Responses API, in and out.

request.py   body -> Wanted: the chat vocabulary, and what it cannot say
input.py     its items as turns
content.py   the content of messages
items.py     an answer as output items
events.py    deltas as the events the official client types
native.py    what a server of this API has said, under our name
shape.py     the shape, and the response object around it
"""
