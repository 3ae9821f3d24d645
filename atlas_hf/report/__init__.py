"""Results as text for the terminal, as pictures, and as model cards with their templates.

May import `hub`, `folder`, `metrics` and `tasks`; matplotlib loads when a picture is drawn.
"""
