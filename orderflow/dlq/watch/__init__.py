"""The live screen. To read: model, reading (fills it), app (Textual), keyboard, key_line, web (browsers)."""
