"""The gateway's own OpenAPI 3.1 document, and what draws it. Pure: no sockets.

`models` are the answers of the own endpoints that have no model elsewhere, `document` puts it all
together: `own` writes what the gateway answers itself, `routes` what is behind it, `upstreams`
what services say of themselves. `pages` are the files of Swagger UI and ReDoc.
"""
