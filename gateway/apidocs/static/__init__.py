"""Files that browsers are sent: two pages of ours, and what draws them.

Swagger UI 5.35.0 (npm `swagger-ui-dist`, Apache-2.0) and ReDoc 2.5.4 (npm `redoc`, MIT), with their
licences and those of what is in them; `.ci/vendor.py` fetches them. Nothing was changed but that
ReDoc loads no picture from another host. Swagger UI's second script, which draws a bar to load
other documents and asks a validator elsewhere, is left out.
"""
