"""What a shared cache has to know (RFC 9111): pure rules first, then what keeps and fetches.

`directives`, `targeted`, `dates`, `freshness`, `vary`, `conditional`, `ranges`, `freshening` and
`status` read fields and decide; `stored` is an answer that is kept; `front`, `epochs` and `shelves`
keep answers; `flight` and `errand` fetch them. Times are unix seconds unless they say otherwise.
"""
