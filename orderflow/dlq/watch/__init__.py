"""The live screen. To read: model (what it knows), reading (fills it), app (Textual), web (browsers)."""
