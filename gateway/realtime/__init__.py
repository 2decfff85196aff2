"""Live updates: what is said (`wire`), who hears it (`hub`), and one client's end of it."""
