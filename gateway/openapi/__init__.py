"""OpenAPI 3.0 and 3.1 documents, made into checks of requests. Pure: no sockets, no settings.

`document` reads a file and follows its references, `schemas` makes JSON Schema 2020-12 of its
schemas, `checks` compiles them, `matcher` finds the path of a request, `parameters` and `bodies`
read what it brings, and `operations` puts it together.
"""
