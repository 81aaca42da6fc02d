"""POST /v1/responses: OpenAI's Responses API, in and out.

request.py   body -> Wanted: the chat vocabulary, and what it cannot say
content.py   the content of messages, both ways
items.py     an answer as output items
events.py    deltas as the events the official client types
shape.py     the shape, and the response object around it
"""
