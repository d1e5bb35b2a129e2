"""The live screen. To read: model (what it knows), reading (keeps it up to date), app (Textual)."""
