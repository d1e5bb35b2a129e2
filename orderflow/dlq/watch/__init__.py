"""The live screen.

To read: model, reading (fills it), app (Textual), screens, table_screen (a table with a filter), host (what
they know of the app), keyboard, key_line, web (browsers).
"""
